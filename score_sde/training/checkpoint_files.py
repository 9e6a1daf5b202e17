"""What lies in the folder of a checkpoint beside its arrays: JSON files, read as they are."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

from score_sde.training.seal import DamagedError, Seal, check_config, check_seal

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
            _write(path, wanted)


def plain_metrics(metrics: Any) -> dict[str, float]:
    """The metrics that a checkpoint is judged by, those that are numbers."""
    return {name: float(value) for name, value in (metrics or {}).items() if math.isfinite(value)}


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DamagedError(f"{path.parent.name} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DamagedError(f"{path.parent.name} is broken") from error


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(json.dumps(value), encoding="utf-8")
    temporary.replace(path)
