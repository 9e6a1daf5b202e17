"""Snapshots of the power averages of a run, one file each, for post-hoc EMA."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import jax

from score_sde import checks
from score_sde.export.tensor_file import TensorFile, open_tensors, remove_unfinished, write_tensors
from score_sde.runtime.unreadable import opening
from score_sde.runtime.working_copy import local_path
from score_sde.training.ema import Average, PowerEMA
from score_sde.training.run import Hook
from score_sde.training.state import TrainState
from score_sde.typing import Params

FOLDER = "snapshots"
"""The folder of the snapshots in a workdir."""

NAMES = "power_*.safetensors"
"""The names of the files: ``power_0.05_00001000.safetensors`` is the average ``power:0.05``
after 1000 updates.
"""


class Snapshot(NamedTuple):
    """The file of a power average after some step.

    Attributes:
        step: The number of updates.
        sigma_rel: The relative width of the average, see `PowerEMA`.
        path: The file of its parameters.
    """

    step: int
    sigma_rel: float
    path: Path


def snapshot_hook(
    folder: str | Path,
    averages: Sequence[Average],
    *,
    every: int,
    gather: Callable[[Params], Params] = jax.device_get,
) -> Hook:
    """The hook that writes a snapshot of each power average of a run every so many steps.

    Each file appears whole or not at all, and a resumed run writes the same bytes again.
    On the first call, and after the run was rolled back, it removes snapshots of later
    steps, which may now differ, and half-written files. Only the first process writes.

    Args:
        folder: The folder of the snapshots, made if missing.
        averages: The averages of the state, in order.
        every: Steps between two snapshots.
        gather: Brings the parameters to the first process; all processes call it. By
            default a copy to the host, which suffices where each process has them whole.

    Raises:
        ValueError: Where none of the averages is a `PowerEMA`.
    """
    place = local_path(folder)
    powers = {
        number: rule.sigma_rel for number, rule in enumerate(averages) if isinstance(rule, PowerEMA)
    }
    checks.require(powers, "averages must hold a PowerEMA, of which snapshots are taken")
    latest: int | None = None

    def write(state: TrainState, step: int) -> None:
        nonlocal latest
        first = jax.process_index() == 0
        if first and (latest is None or step <= latest):
            _clean(place, step)
        latest = step
        for number, sigma_rel in powers.items():
            params = gather(state.averages[number])
            if first:
                facts = {"step": step, "sigma_rel": sigma_rel}
                write_tensors(place / f"power_{sigma_rel}_{step:08d}.safetensors", params, facts)

    return Hook(every=every, run=write, first=True)


def find_snapshots(folder: str | Path) -> list[Snapshot]:
    """The snapshots in a folder, sorted by width and step.

    Raises:
        FileNotFoundError: Where there are none.
        ValueError: Where one is damaged.
        UnreadableError: Where the folder or a snapshot cannot be read; an ``OSError``.
    """
    found = [_described(path) for path in _paths(local_path(folder))]
    if not found:
        raise FileNotFoundError(
            f"no snapshots in {folder}: train with training.averages, such as "
            "('power:0.05','power:0.1'), and training.snapshot_every"
        )
    return sorted(found, key=lambda snapshot: (snapshot.sigma_rel, snapshot.step))


@contextmanager
def open_snapshot(path: Path) -> Iterator[TensorFile]:
    """Open the file of a snapshot.

    Raises:
        OSError: Where it is missing, or cannot be read (`UnreadableError`).
        ValueError: Where it is damaged.
    """
    try:
        with open_tensors(path) as file:
            yield file
    except ValueError as error:
        raise ValueError(f"{error}; remove it to do without") from None


def _paths(folder: Path) -> list[Path]:
    try:
        with opening("the folder", folder):  # a glob would find nothing in an unreadable one
            return sorted(path for path in folder.iterdir() if path.match(NAMES))
    except FileNotFoundError:
        return []


def _described(path: Path) -> Snapshot:
    with open_snapshot(path) as file:
        step, sigma_rel = (file.facts.get(name) for name in ("step", "sigma_rel"))
        if not (isinstance(step, int) and isinstance(sigma_rel, int | float)):
            step, sigma_rel = -1, 0.0
        checks.require(
            0 <= step < 2**63 and 0 < sigma_rel < 1e9,
            f"{path} is damaged: it does not say of which step and width it is",
        )
        return Snapshot(step=step, sigma_rel=sigma_rel, path=path)


def _clean(folder: Path, step: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    remove_unfinished(folder)
    for path in folder.glob(NAMES):
        number = path.stem.rpartition("_")[2]
        if number.isdecimal() and int(number) > step:
            path.unlink()
