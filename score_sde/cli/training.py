"""The training of ``score-sde train`` and ``score-sde train-dequantizer``."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import jax

from score_sde.cli.flags import usage_errors
from score_sde.evaluation import report
from score_sde.evaluation.sample_grids import sample_grids
from score_sde.experiments.base import AnyExperiment
from score_sde.experiments.train import prepared
from score_sde.runtime.signals import StopRequest
from score_sde.runtime.streams import tell
from score_sde.runtime.watchdog import STOPPED
from score_sde.training import train
from score_sde.training.checkpoints.manifest import CheckpointError
from score_sde.training.feed import LoaderError


def train_in(
    workdir: Path, experiment: AnyExperiment, stop: StopRequest, *, overwrite: bool = False
) -> int:
    """Train or resume an experiment in a folder, and report it: the exit code.

    ``overwrite``: whether a new run may overwrite files that no run has written.

    Raises:
        UsageError: where the folder holds another run, files of other programs or no
            sound checkpoint, another process writes in it, or it is not writable.
    """
    with ExitStack() as stack:
        with usage_errors():
            grids = sample_grids(experiment, workdir)
            options = {"overwrite": overwrite, "warn": _warn}
            run = stack.enter_context(prepared(experiment, workdir, grids, **options))
        if grids and jax.process_index() == 0:
            tell(f"samples every {grids[0].every} steps: {workdir / 'samples'}")
        with usage_errors((CheckpointError,)), _told_to_skip(experiment):
            result = train(run, stop=stop)
    if jax.process_index() == 0:
        rows = {"trained": f"{int(result.state.step)} steps, {workdir / 'checkpoints'}"}
        report.record(workdir, rows)
        report.show(f"training in {workdir}", rows)
    return 0 if result.signum is None else STOPPED


@contextmanager
def _told_to_skip(experiment: AnyExperiment) -> Iterator[None]:
    """Name the remedy in the error of a damaged example."""
    try:
        yield
    except LoaderError as error:
        if not error.is_damage or experiment.skip_damaged:
            raise
        raise LoaderError(
            f"{error}; repair it, or skip damaged examples by --config.data.skip_damaged=True, "
            "and run again to resume"
        ) from error


def _warn(warning: str) -> None:
    tell(f"warning: {warning}")
