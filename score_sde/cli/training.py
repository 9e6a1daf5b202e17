"""What ``score-sde train`` and ``score-sde train-dequantizer`` set going."""

import sys
from contextlib import ExitStack
from pathlib import Path

import jax

from score_sde.cli.flags import Refusal, refusals, sentence
from score_sde.evaluation import report
from score_sde.evaluation.sample_grids import sample_grids
from score_sde.experiments.base import AnyExperiment
from score_sde.experiments.train import prepared
from score_sde.runtime.signals import StopRequest
from score_sde.runtime.watchdog import STOPPED
from score_sde.training import train
from score_sde.training.checkpoints.manifest import CheckpointError


def train_in(
    workdir: Path, experiment: AnyExperiment, stop: StopRequest, *, overwrite: bool = False
) -> int:
    """Train, or go on training, and say so: the exit code.

    ``overwrite``: whether a new run may write over files that are no run's.

    Raises:
        Refusal: where the folder holds another run or files of other programs, another
            process writes in it, or nothing can be written there.
    """
    with ExitStack() as stack:
        with refusals():
            grids = sample_grids(experiment, workdir)
            options = {"overwrite": overwrite, "warn": _warn}
            run = stack.enter_context(prepared(experiment, workdir, grids, **options))
        try:
            result = train(run, stop=stop)
        except CheckpointError as error:
            raise Refusal(sentence(error)) from error
    if jax.process_index() == 0:
        rows = {"trained": f"{int(result.state.step)} steps, {workdir / 'checkpoints'}"}
        report.record(workdir, rows)
        report.show(f"training in {workdir}", rows)
    return 0 if result.signum is None else STOPPED


def _warn(warning: str) -> None:
    print(f"warning: {warning}", file=sys.stderr, flush=True)
