"""The folder of checkpoints: its steps, its JSON files, free space, and damage."""

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
from score_sde.training.checkpoints.manifest import (
    CheckpointError,
    DamagedError,
    Manifest,
    check_config,
    check_manifest,
)

Config = dict[str, Any]
"""A resolved config as plain JSON values."""

UNFINISHED = "*.orbax-checkpoint-tmp*"
"""The names of checkpoints that are still being written, or never were to the end."""

DAMAGED = "damaged"
"""The folder, beside the checkpoints, that damaged ones are moved to."""

_ITEMS = {"seal": "manifest"}
"""What an item of a checkpoint is called in messages, where not by its name on disk."""


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
    """The error of a run whose checkpoints are all damaged, the newest for ``reason``."""
    return DamagedError(
        f"no sound checkpoint in {directory}: all are damaged ({newest}: {reason}); "
        f"{_from_step_1(directory)}"
    )


def check_startable(directory: Path) -> None:
    """Raise ``CheckpointError`` where a folder has damaged checkpoints and no others.

    A run does not silently start again from the first step: its user has to move the
    folder away.
    """
    aside = directory / DAMAGED
    with opening("the folder", aside):
        has_damaged = aside.is_dir() and any(aside.iterdir())
    if has_damaged and not steps_in(directory):
        raise CheckpointError(
            f"no checkpoint in {directory} but damaged ones in {aside}: {_from_step_1(directory)}"
        )


def _from_step_1(directory: Path) -> str:
    return f"to start from step 1, take another workdir, or move {directory} away"


def read_manifest(checkpoint: Path) -> Manifest:
    """The manifest of a checkpoint.

    Raises:
        DamagedError: Where it is missing or broken, or something in the checkpoint is
            neither a file nor a folder.
        UnreadableError: Where it cannot be read.
    """
    _check_files(checkpoint)
    return check_manifest(_read(checkpoint / "seal" / "metadata"))


def read_config(checkpoint: Path, manifest: Manifest) -> Any:
    """The config of a checkpoint.

    Raises:
        DamagedError: Where it is missing or broken, or differs from the manifest.
        UnreadableError: Where it cannot be read.
    """
    config = _read(checkpoint / "config" / "metadata")
    check_config(manifest, config)
    return config


def check_room(directory: Path, trees: Mapping[str, Any]) -> None:
    """Raise ``OSError`` where the disk has no room for the arrays of a checkpoint."""
    needed = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(trees))
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"a checkpoint takes {needed:,} bytes and {free:,} are free in {directory}",
        )


def remove_unfinished(directory: Path) -> None:
    """Remove checkpoints that an interrupted run has not written to the end."""
    # orbax does so too, but not before the next checkpoint is saved.
    for path in directory.glob(UNFINISHED):
        shutil.rmtree(path, ignore_errors=True)


def mend_metrics(directory: Path) -> None:
    """Write the metrics of each checkpoint again, from its manifest, where their file is
    damaged: orbax reads the metrics of all checkpoints.

    The damaged file stays beside the new one, as ``metrics.damaged``.

    Raises:
        UnreadableError: Where a manifest or metrics cannot be read: without them, the
            best checkpoint would not be known.
    """
    for step in steps_in(directory):
        path = directory / str(step) / "metrics" / "metrics"
        try:
            wanted = read_manifest(directory / str(step))["metrics"]
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
    """The finite metrics, by which a checkpoint is judged."""
    return {name: float(value) for name, value in (metrics or {}).items() if math.isfinite(value)}


def _check_files(checkpoint: Path) -> None:
    """Find devices and pipes, which might be read for ever."""
    with suppress(FileNotFoundError, NotADirectoryError), opening("the checkpoint", checkpoint):
        for folder, _, names in os.walk(checkpoint, onerror=raise_error):
            for name in names:
                path = Path(folder) / name
                # A file that is missing here, its reader reports.
                if path.exists() and not path.is_file():
                    raise DamagedError(f"its {path.relative_to(checkpoint)} is no file")


def _read(path: Path) -> Any:
    item = _ITEMS.get(path.parent.name, path.parent.name)
    try:
        with opening("the checkpoint", path.parents[1]):
            return read_json(path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise DamagedError(f"its {item} is missing") from error
    except ValueError as error:
        raise DamagedError(f"its {item} is broken") from error


def choose_step(steps: list[int], step: int | None, directory: Path) -> int:
    """``step`` itself, or the latest of ``steps`` where it is None.

    Raises:
        FileNotFoundError: Where there is no checkpoint of that step in ``directory``.
    """
    if not steps:
        raise FileNotFoundError(nothing_in(directory))
    if step is not None and step not in steps:
        raise FileNotFoundError(f"no checkpoint of step {step} in {directory}: there are {steps}")
    return steps[-1] if step is None else step


def nothing_in(directory: Path) -> str:
    """The message about a folder without checkpoints."""
    return f"no checkpoint in {directory}: train a model in workdir={directory.parent} first"


def reading(path: Path) -> AbstractContextManager[None]:
    """Turn every error of a block that reads a checkpoint into one line that names it.

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
    """Drops the log lines of orbax: they are about its internals, and it raises its
    errors besides.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return "orbax" not in record.pathname


class _NotItsTasks(logging.Filter):
    """Drops asyncio's lines about errors of orbax's tasks that nobody retrieves: where
    several reads fail, orbax raises the first error alone.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        return not ("never retrieved" in text and "orbax" in text)


_not_orbax, _not_its_tasks = _NotOrbax(), _NotItsTasks()


def quiet_orbax() -> None:
    """Keep orbax out of the log."""
    logging.getLogger("absl").addFilter(_not_orbax)
    logging.getLogger("asyncio").addFilter(_not_its_tasks)
