"""What lies in the folder of checkpoints beside arrays: which there are, JSON files,
the room for another, and what reading them may find.
"""

import errno
import json
import logging
import math
import os
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import jax

from score_sde.runtime.atomic_files import replacing
from score_sde.runtime.bounded_reading import read_json
from score_sde.runtime.unreadable import opening, raise_error, set_aside, telling_damage
from score_sde.training.checkpoints.seal import (
    CheckpointError,
    DamagedError,
    Seal,
    check_config,
    check_seal,
)

Config = dict[str, Any]
"""A resolved config as plain JSON values."""

UNFINISHED = "*.orbax-checkpoint-tmp*"
"""Names of checkpoints that are not whole: each gets its own name when it is."""

DAMAGED = "damaged"
"""The folder, beside the checkpoints, that damaged ones are moved to."""


def steps_in(directory: Path) -> list[int]:
    """The steps of the checkpoints in a folder, in order; none where there is no folder.

    Raises:
        UnreadableError: Where the folder cannot be listed.
    """
    try:
        with opening("the folder", directory), os.scandir(directory) as entries:
            return sorted(
                int(entry.name) for entry in entries if entry.name.isdecimal() and entry.is_dir()
            )
    except (FileNotFoundError, NotADirectoryError):
        return []


def all_damaged(directory: Path, newest: int, reason: str) -> DamagedError:
    """The error where no checkpoint of a run is sound: it would begin from the first step again."""
    return DamagedError(
        f"no sound checkpoint in {directory}: all are damaged ({newest}: {reason}); to start from "
        "step 1, take another "
        f"workdir, or move {directory} away"
    )


def check_startable(directory: Path) -> None:
    """Raise ``CheckpointError`` where a folder has damaged checkpoints alone.

    A run that would begin from the first step again has to be asked for: by moving the
    folder away.
    """
    aside = directory / DAMAGED
    with opening("the folder", aside):
        has_damaged = aside.is_dir() and any(aside.iterdir())
    if has_damaged and not steps_in(directory):
        raise CheckpointError(
            f"no checkpoint in {directory} but damaged ones in {aside}: to start from step 1, take "
            "another workdir, or "
            f"move {directory} away"
        )


def read_seal(checkpoint: Path) -> Seal:
    """The seal of a checkpoint.

    Raises:
        DamagedError: Where it is missing or broken, or something in the checkpoint is
            neither a file nor a folder.
        UnreadableError: Where it cannot be read.
    """
    _check_files(checkpoint)
    return check_seal(_read(checkpoint / "seal" / "metadata"))


def read_config(checkpoint: Path, seal: Seal) -> Any:
    """The config of a checkpoint.

    Raises:
        DamagedError: Where it is not the one that was sealed.
        UnreadableError: Where it cannot be read.
    """
    config = _read(checkpoint / "config" / "metadata")
    check_config(seal, config)
    return config


def check_room(directory: Path, trees: Mapping[str, Any]) -> None:
    """Raise ``OSError`` where a disk has no room for the arrays of a checkpoint."""
    needed = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(trees))
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"a checkpoint takes {needed:,} bytes and {free:,} are free in {directory}",
        )


def remove_unfinished(directory: Path) -> None:
    """Remove what an interrupted run has left half-written."""
    # orbax can do this itself, but only when the next checkpoint is saved.
    for path in directory.glob(UNFINISHED):
        shutil.rmtree(path, ignore_errors=True)


def mend_metrics(directory: Path) -> None:
    """Write the metrics of each checkpoint as they were sealed, where their file is
    damaged: orbax reads them all.

    The damaged file stays beside them, as ``metrics.damaged``.

    Raises:
        UnreadableError: Where a seal or metrics cannot be read: without them, the best
            checkpoint would not be known.
    """
    for step in steps_in(directory):
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
            if path.exists():
                set_aside(path)
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(wanted), encoding="utf-8")


def plain_metrics(metrics: Any) -> dict[str, float]:
    """The metrics that a checkpoint is judged by, those that are numbers."""
    return {name: float(value) for name, value in (metrics or {}).items() if math.isfinite(value)}


def _check_files(checkpoint: Path) -> None:
    """Refuse what is neither file nor folder: to read a device or a pipe may never end."""
    with suppress(FileNotFoundError, NotADirectoryError), opening("the checkpoint", checkpoint):
        for folder, _, names in os.walk(checkpoint, onerror=raise_error):
            for name in names:
                path = Path(folder) / name
                if (
                    path.exists() and not path.is_file()
                ):  # what is not there is found missing by whoever reads it
                    raise DamagedError(f"its {path.relative_to(checkpoint)} is no file")


def _read(path: Path) -> Any:
    try:
        with opening("the checkpoint", path.parents[1]):
            return read_json(path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise DamagedError(f"its {path.parent.name} is missing") from error
    except ValueError as error:
        raise DamagedError(f"its {path.parent.name} is broken") from error


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
    return (
        f"no checkpoint in {directory}: train with `score-sde train --config=… "
        f"--workdir={directory.parent}` first"
    )


def reading(path: Path) -> AbstractContextManager[None]:
    """Turn whatever a checkpoint makes its readers raise into one line that names it.

    Raises:
        DamagedError: Where the checkpoint is damaged.
        UnreadableError: Where it cannot be read, and may be sound.
    """

    def damage(reason: str) -> DamagedError:
        return DamagedError(
            f"cannot read the checkpoint {path}, remove it to use an earlier one: {reason}"
        )

    return telling_damage("the checkpoint", path, damage)


class _NotOrbax(logging.Filter):
    """Lets nothing of orbax through: it tells of its own machinery, and raises its
    errors besides.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return "orbax" not in record.pathname


class _NotItsTasks(logging.Filter):
    """Drops the errors of orbax's tasks that are never retrieved: where reads fail, it
    raises the first error alone.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        return not ("never retrieved" in text and "orbax" in text)


_not_orbax, _not_its_tasks = _NotOrbax(), _NotItsTasks()


def quiet_orbax() -> None:
    """Keep orbax from the log."""
    logging.getLogger("absl").addFilter(_not_orbax)
    logging.getLogger("asyncio").addFilter(_not_its_tasks)
