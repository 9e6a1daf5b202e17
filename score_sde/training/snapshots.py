"""Snapshots of the power averages of a run, one file for each, from which those of
other widths are made.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import jax

from score_sde.export.tensor_file import TensorFile, open_tensors, remove_unfinished, write_tensors
from score_sde.runtime.unreadable import opening
from score_sde.training.ema import Average, PowerEMA
from score_sde.training.run import Hook
from score_sde.training.state import TrainState
from score_sde.typing import Params

FOLDER = "snapshots"
"""The folder of a workdir that they are in."""

NAMES = "power_*.safetensors"
"""The names of the files, that of step 1000 of the average ``power:0.05`` being
``power_0.05_00001000.safetensors``.
"""


class Snapshot(NamedTuple):
    """A power average as it was at a step.

    Attributes:
        step: After how many updates.
        sigma_rel: The relative width of the average.
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

    Each file appears whole or not at all, and a resumed run writes the same bytes
    again. The first time, and whenever the run was taken back, what is of later steps
    is removed, for it may now go another way; and so is what a killed run has left
    half-written. The first process alone writes.

    Args:
        folder: Where; made if missing.
        averages: The rules of the averages of the state, in order.
        every: Between how many steps.
        gather: How all processes together bring the parameters to the first one;
            nothing but a copy to the host where each has them whole.

    Raises:
        ValueError: Where none of the averages is a `PowerEMA`.
    """
    place = Path(folder)
    powers = {
        number: rule.sigma_rel for number, rule in enumerate(averages) if isinstance(rule, PowerEMA)
    }
    if not powers:
        raise ValueError("snapshots are of power averages, and there is none")
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
    """The snapshots in a folder, by width and step.

    Raises:
        FileNotFoundError: Where there are none.
        ValueError: In one line, where one is damaged.
        UnreadableError: Where the folder or one of them cannot be read; an ``OSError``.
    """
    found = [_described(path) for path in _paths(Path(folder))]
    if not found:
        raise FileNotFoundError(
            f"no snapshots in {folder}: train with training.averages, such as "
            "('power:0.05','power:0.1'), and "
            f"training.snapshot_every"
        )
    return sorted(found, key=lambda snapshot: (snapshot.sigma_rel, snapshot.step))


@contextmanager
def open_snapshot(path: Path) -> Iterator[TensorFile]:
    """Open the file of a snapshot.

    Raises:
        OSError: where it is missing, or cannot be read (`UnreadableError`).
        ValueError: in one line, where it is damaged.
    """
    try:
        with open_tensors(path) as file:
            yield file
    except ValueError as error:
        raise ValueError(f"{error}; remove it to do without") from None


def _paths(folder: Path) -> list[Path]:
    try:
        with opening("the folder", folder):  # where it cannot be listed, a glob would find nothing
            return sorted(path for path in folder.iterdir() if path.match(NAMES))
    except FileNotFoundError:
        return []


def _described(path: Path) -> Snapshot:
    with open_snapshot(path) as file:
        step, sigma_rel = (file.facts.get(name) for name in ("step", "sigma_rel"))
        if not (isinstance(step, int) and isinstance(sigma_rel, int | float)):
            step, sigma_rel = -1, 0.0
        if not 0 <= step < 2**63 or not 0 < sigma_rel < 1e9:
            raise ValueError(f"{path} is damaged: it does not say of which step and width it is")
        return Snapshot(step=step, sigma_rel=sigma_rel, path=path)


def _clean(folder: Path, step: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    remove_unfinished(folder)
    for path in folder.glob(NAMES):
        number = path.stem.rpartition("_")[2]
        if number.isdecimal() and int(number) > step:
            path.unlink()
