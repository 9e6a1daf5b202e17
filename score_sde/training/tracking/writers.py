"""Makes one writer, which never stops a training, from the names of ``training.trackers``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from score_sde import checks
from score_sde.runtime.naming import lookup
from score_sde.runtime.trust import EVERYTHING
from score_sde.training.tracking.guarded import BackgroundWriter, GuardedWriter, Tell, to_stderr
from score_sde.training.tracking.metrics import JsonLinesWriter, MetricWriter, MultiWriter
from score_sde.training.tracking.tensorboard import TensorBoardWriter
from score_sde.training.tracking.trackers import MlflowWriter, TrackioWriter, WandbWriter

MakeWriter = Callable[[Path, Mapping[str, Any]], MetricWriter]
"""``(workdir, resolved config) -> writer``."""

RETRY_EVERY = 300.0
"""Seconds between two tries of a writer that may need a network."""


@dataclass(frozen=True, kw_only=True)
class Tracker:
    """A tracker that a config can name.

    Attributes:
        make: Makes its writer.
        library: The library that it needs, None for a dependency of this package.
        extra: The extra of this package that installs the library.
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
"""The trackers by the names that ``training.trackers`` may hold."""


def make_writers(
    names: Sequence[str], workdir: str | Path, config: Mapping[str, Any], *, tell: Tell = to_stderr
) -> MetricWriter:
    """A writer to ``metrics.jsonl`` in the workdir and to the trackers called ``names``.

    Nothing is opened before the first call. Errors of a writer are reported, and training
    continues. TensorBoard files are written at once; other trackers, which may need a
    network, in threads of their own.

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
    # Without duplicates, which would write everything twice.
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
    # The user who trains has named the code, and so trusts it.
    found = lookup("training.trackers", name, TRACKERS, trust=EVERYTHING)
    tracker = found if isinstance(found, Tracker) else Tracker(make=found)
    checks.require(
        tracker.library is None or find_spec(tracker.library) is not None,
        f"training.trackers: {name} needs the extra {tracker.extra}: pip install "
        f"'score-sde[{tracker.extra}]'",
    )
    return tracker
