"""The training of ``score-sde train`` and ``score-sde train-dequantizer``."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import jax

from score_sde.cli.flags import usage_errors
from score_sde.evaluation import report
from score_sde.evaluation.sample_grids import sample_grids
from score_sde.experiments.base import AnyExperiment
from score_sde.experiments.train import prepared
from score_sde.runtime.object_store import shown
from score_sde.runtime.processes import devices_in_use
from score_sde.runtime.signals import StopRequest
from score_sde.runtime.streams import tell
from score_sde.runtime.watchdog import STOPPED
from score_sde.training import TrainingRun, train
from score_sde.training.checkpoints.manifest import CheckpointError
from score_sde.training.feed import LoaderError


def train_in(
    workdir: Path,
    experiment: AnyExperiment,
    stop: StopRequest,
    *,
    overwrite: bool = False,
    lock: bool = True,
    init_from: str | None = None,
    average: str | None = None,
) -> int:
    """Train or resume an experiment in a folder, and report it: the exit code.

    ``overwrite``: whether a new run may overwrite files that no run has written.
    ``lock``: whether to lock the folder.
    ``init_from`` and ``average``: the trained model that a new run begins with.

    Raises:
        UsageError: where the folder holds another run, files of other programs or no
            sound checkpoint, another process writes in it, or it is not writable.
    """
    with ExitStack() as stack:
        with usage_errors():
            grids = sample_grids(experiment, workdir)
            options = {"overwrite": overwrite, "lock": lock, "warn": _warn}
            options |= {"init_from": init_from, "average": average}
            run = stack.enter_context(prepared(experiment, workdir, grids, **options))
        is_first = jax.process_index() == 0
        if is_first:
            _tell(f"devices: {devices_in_use(os.environ)}; workdir: {_sharing(lock)}")
            for note in experiment.source.notes:
                _tell(f"data {note}")
            _tell_beginning(run)
        if is_first and grids:
            _tell(f"samples every {grids[0].every} steps: {workdir / 'samples'}")
        with usage_errors((CheckpointError,)), _told_to_skip(experiment):
            result = train(run, stop=stop)
    if is_first:
        rows = {"trained": f"{int(result.state.step)} steps, {workdir / 'checkpoints'}"}
        report.record(workdir, rows)
        report.show(f"training in {workdir}", rows)
    return 0 if result.signum is None else STOPPED


def _sharing(lock: bool) -> str:
    shared = "shared, " if jax.process_count() > 1 else ""
    return shared + ("locked" if lock else "not locked")


def _tell_beginning(run: TrainingRun) -> None:
    """Report the model that a new run begins with, if any."""
    origin = run.about.get("init_from")
    is_new = run.checkpoints is not None and run.checkpoints.latest_step() is None
    if origin and is_new:
        step = "" if origin["step"] is None else f", step {origin['step']}"
        _tell(f"beginning with the parameters of {origin['path']}{step}")


def _warn(warning: str) -> None:
    _tell(f"warning: {warning}")


def _tell(line: str) -> None:
    tell(shown(line))


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
