"""Where the data sets that have a name are looked for, and the line that says how one
gets there.
"""

import os
from pathlib import Path

from score_sde.data.listing import files_within

ROOT_VARIABLE = "SCORE_SDE_DATA"
"""The environment variable with the folder of all data sets; ``~/data/score_sde`` where
there is none.
"""

Place = str | Path | None
"""The folder of a data set; None for that of its name below the folder of all."""


def data_root() -> Path:
    """The folder of all data sets."""
    return Path(os.environ.get(ROOT_VARIABLE) or "~/data/score_sde").expanduser()


def place_of(name: str, path: Place) -> Path:
    """Where a data set is looked for."""
    return data_root() / name if path is None else Path(path).expanduser()


def missing(title: str, place: Path, remedy: str) -> FileNotFoundError:
    """The error that says in one line how to prepare a data set."""
    return FileNotFoundError(
        f"no {title} in {place}: {remedy}, or name another folder: --config.data.path=FOLDER"
    )


def files_by_name(place: Path) -> dict[str, Path]:
    """The files of a folder and of the folders in it, two deep; of two with one name,
    the first by path.

    Raises:
        OSError: where one of the folders cannot be listed.
    """
    return {file.name: file for file in reversed(list(files_within(place, 3)))}
