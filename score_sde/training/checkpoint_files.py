"""What lies in the folder of checkpoints beside arrays: which there are, JSON files, and what reading them may find."""

import json
import logging
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from score_sde.replacing import replacing
from score_sde.training.seal import DamagedError, Seal, check_config, check_seal

Config = dict[str, Any]
"""A resolved config as plain JSON values."""

UNFINISHED = "*.orbax-checkpoint-tmp*"
"""Names of checkpoints that are not whole: each gets its own name when it is."""


def steps_in(directory: Path) -> list[int]:
    """The steps of the checkpoints in a folder, in order."""
    return sorted(int(path.name) for path in directory.iterdir() if path.name.isdecimal() and path.is_dir())


def read_seal(checkpoint: Path) -> Seal:
    """The seal of a checkpoint.

    Raises:
        DamagedError: Where it is missing or broken.
    """
    return check_seal(_read(checkpoint / "seal" / "metadata"))


def read_config(checkpoint: Path, seal: Seal) -> Any:
    """The config of a checkpoint.

    Raises:
        DamagedError: Where it is not the one that was sealed.
    """
    config = _read(checkpoint / "config" / "metadata")
    check_config(seal, config)
    return config


def remove_unfinished(directory: Path) -> None:
    """Remove what an interrupted run has left half-written."""
    # orbax can do this itself, but only when the next checkpoint is saved.
    for path in directory.glob(UNFINISHED):
        shutil.rmtree(path, ignore_errors=True)


def mend_metrics(directory: Path) -> None:
    """Write the metrics of each checkpoint as they were sealed, where their file is damaged: orbax reads them all."""
    for step in steps_in(directory) if directory.is_dir() else ():
        path = directory / str(step) / "metrics" / "metrics"
        try:
            wanted = read_seal(directory / str(step))["metrics"]
        except DamagedError:
            wanted = {}
        try:
            is_whole = _read(path) == wanted
        except DamagedError:
            is_whole = False
        if not is_whole:
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(wanted), encoding="utf-8")


def plain_metrics(metrics: Any) -> dict[str, float]:
    """The metrics that a checkpoint is judged by, those that are numbers."""
    return {name: float(value) for name, value in (metrics or {}).items() if math.isfinite(value)}


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DamagedError(f"{path.parent.name} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path.parent.name} is broken") from error


def choose_step(steps: list[int], step: int | None, directory: Path) -> int:
    """The step that is asked for, or the latest of those there are.

    Raises:
        FileNotFoundError: Where it is not there.
    """
    if not steps:
        raise FileNotFoundError(nothing_in(directory))
    if step is not None and step not in steps:
        raise FileNotFoundError(f"no checkpoint of step {step} in {directory}: there are {steps}")
    return steps[-1] if step is None else step


def nothing_in(directory: Path) -> str:
    """What is said of a folder without checkpoints."""
    return f"no checkpoint in {directory}: train with `score-sde train --config=… --workdir={directory.parent}` first"


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a damaged checkpoint makes its readers raise into one line that names it.

    Raises:
        DamagedError: Where the block raises.
    """
    try:
        yield
    except Exception as error:
        message = f"cannot read the checkpoint {path}, remove it to use an earlier one"
        raise DamagedError(f"{message}: {reason_of(error)}") from error


def tree_of(metadata: Any) -> Any:
    """The arrays that orbax lists, as it describes them.

    Raises:
        DamagedError: Where it finds no list.
    """
    if metadata is None:
        raise DamagedError("its arrays are not listed")
    return metadata.tree


def reason_of(error: BaseException) -> str:
    """The cause of an error in a few words: tensorstore puts that last, after the names of many files."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    first = (str(error).splitlines() or [""])[0] or type(error).__name__
    return first.rpartition(": ")[2].partition(" [os_error")[0][:200]


class _NotOrbax(logging.Filter):
    """Lets nothing of orbax through: it tells of its own machinery, and raises its errors besides."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "orbax" not in record.pathname


_not_orbax = _NotOrbax()


def quiet_orbax() -> None:
    """Keep orbax from the log."""
    logging.getLogger("absl").addFilter(_not_orbax)
