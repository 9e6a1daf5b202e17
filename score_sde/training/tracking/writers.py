"""From the names of ``training.trackers`` to one writer that never stops a training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from score_sde.runtime.naming import lookup
from score_sde.runtime.trust import EVERYTHING
from score_sde.training.tracking.guarded import BackgroundWriter, GuardedWriter, Tell, to_stderr
from score_sde.training.tracking.metrics import JsonLinesWriter, MetricWriter, MultiWriter
from score_sde.training.tracking.tensorboard import TensorBoardWriter
from score_sde.training.tracking.trackers import MlflowWriter, TrackioWriter, WandbWriter

MakeWriter = Callable[[Path, Mapping[str, Any]], MetricWriter]
"""``(workdir, resolved config) -> writer``: what a ``package.module:Name`` must be."""

RETRY_EVERY = 300.0
"""Seconds between tries of what may lie beyond a network."""


@dataclass(frozen=True, kw_only=True)
class Tracker:
    """How a writer is made, and the extra that its library comes with: that of all but
    TensorBoard, which is local.
    """

    make: MakeWriter
    library: str | None = None
    extra: str | None = None


TRACKERS: dict[str, Tracker] = {
    "tensorboard": Tracker(make=lambda workdir, config: TensorBoardWriter(workdir / "tensorboard")),
    "wandb": Tracker(make=WandbWriter, library="wandb", extra="wandb"),
    "mlflow": Tracker(make=MlflowWriter, library="mlflow", extra="mlflow"),
    "trackio": Tracker(make=TrackioWriter, library="trackio", extra="trackio"),
}
"""The names that ``training.trackers`` may hold."""


def make_writers(
    names: Sequence[str], workdir: str | Path, config: Mapping[str, Any], *, tell: Tell = to_stderr
) -> MetricWriter:
    """A writer of ``metrics.jsonl`` in the workdir, always, and of the trackers called ``names``.

    Nothing is opened before the first call. An error of a writer is told, and training
    goes on. TensorBoard's files are written at once, whatever else may wait for a
    network by a thread of its own.

    Args:
        names: Keys of ``TRACKERS``, or ``package.module:Name`` for a `MakeWriter`.
        workdir: The folder of the training run.
        config: The resolved config, which trackers show as the parameters of the run.
        tell: Shows a line.

    Raises:
        ValueError: Where a name is unknown, or the library of a tracker is not
            installed.
    """
    folder = Path(workdir)
    # Twice the same writer would write everything twice.
    trackers = {name: _checked(name) for name in dict.fromkeys(names)}
    path = folder / "metrics.jsonl"
    writers: list[MetricWriter] = [
        GuardedWriter(path.name, partial(JsonLinesWriter, path), tell=tell)
    ]
    for name, tracker in trackers.items():
        make = partial(tracker.make, folder, config)
        if name == "tensorboard":
            writers.append(GuardedWriter(name, make, tell=tell))
        else:
            writers.append(
                BackgroundWriter(GuardedWriter(name, make, retry_every=RETRY_EVERY, tell=tell))
            )
    return MultiWriter(writers)


def _checked(name: str) -> Tracker:
    found = lookup(
        "training.trackers", name, TRACKERS, trust=EVERYTHING
    )  # named by the user who trains
    tracker = found if isinstance(found, Tracker) else Tracker(make=found)
    if tracker.library is not None and find_spec(tracker.library) is None:
        raise ValueError(
            f"training.trackers: {name} needs the extra {tracker.extra}: pip install "
            f"'score-sde[{tracker.extra}]'"
        )
    return tracker
