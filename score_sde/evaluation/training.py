"""Training in a folder, with grids of samples while the model trains."""

from collections.abc import Sequence
from pathlib import Path

from score_sde.evaluation.sample_grids import sample_grids
from score_sde.experiments import train as training
from score_sde.experiments.base import AnyExperiment
from score_sde.training import Hook, TrainResult


def train(
    experiment: AnyExperiment,
    workdir: str | Path,
    hooks: Sequence[Hook] = (),
    *,
    overwrite: bool = False,
) -> TrainResult:
    """Train in a folder, or resume the run there, as ``score-sde train`` does.

    The folder receives the resolved config, checkpoints, metrics and, every
    ``training.sample_every`` steps, a grid of samples; `load` and the commands read it.
    Ctrl-C, SIGTERM, SIGUSR1 and SIGHUP end the run after the current step, which is
    saved. If no step ends within ``training.hang_timeout`` seconds, the process exits. ::

        experiment = ss.build(config)
        ss.train(experiment, "runs/digits")
        model = ss.load("runs/digits")

    Args:
        experiment: the experiment, from `build`.
        workdir: the folder, created if missing. A run of the same model in it is
            resumed, bit for bit.
        hooks: functions to call between steps.
        overwrite: whether a new run may replace files that no run has written.

    Returns:
        The last state, and the signal that stopped the run early, if any.

    Raises:
        ValueError: the folder holds a run of another model, the devices do not suit the
            settings, or all checkpoints are damaged.
        OSError: the folder holds files of other programs, another process writes in it,
            or something cannot be read or written.
        FloatingPointError: gradients are not finite any more.
    """
    grids = sample_grids(experiment, workdir)
    return training.train(experiment, workdir, (*hooks, *grids), overwrite=overwrite)
