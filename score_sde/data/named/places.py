"""The folders of the named data sets, and the error of a missing one."""

import os
from pathlib import Path

from score_sde.data.listing import files_within
from score_sde.runtime.object_cache import cached

ROOT_VARIABLE = "SCORE_SDE_DATA"
"""The environment variable with the folder of all data sets, by default
``~/data/score_sde``.
"""

Place = str | Path | None
"""The folder of a data set; None for the folder of its name in `data_root`."""


def data_root() -> Path:
    """The folder of all data sets."""
    return Path(os.environ.get(ROOT_VARIABLE) or "~/data/score_sde").expanduser()


def place_of(name: str, path: Place) -> Path:
    """The folder of a data set."""
    return data_root() / name if path is None else cached(path)


def missing(title: str, place: Path, remedy: str) -> FileNotFoundError:
    """The error of a missing data set, which says how to prepare it."""
    return FileNotFoundError(
        f"no {title} in {place}: {remedy}, or name another folder: --config.data.path=FOLDER"
    )


def files_by_name(place: Path) -> dict[str, Path]:
    """The files of a folder and of the two levels below it by their names; of several
    with one name, the first by path.

    Raises:
        OSError: where one of the folders cannot be listed.
    """
    return {file.name: file for file in reversed(list(files_within(place, 3)))}
