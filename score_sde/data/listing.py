"""Files below a folder; a folder that cannot be listed is an error.

``Path.glob`` and ``os.walk`` skip folders that they may not list: their examples would be
missing, and a model would be trained on other data.
"""

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from glob import has_magic
from pathlib import Path

from score_sde.runtime.unreadable import raise_error

_OF_THE_FILE_SYSTEM = ("lost+found",)
"""Folders of the file system at the root of a disk, which only the user root may list."""


def files_within(root: Path, depth: int) -> Iterator[Path]:
    """The files in a folder and the folders below it, ``depth`` levels in all: level by
    level, and sorted by path.

    Links to folders are followed. Where ``root`` is no folder, there are no files.

    Raises:
        OSError: where one of the folders cannot be listed.
    """
    folders = [root] if root.is_dir() else []
    for _ in range(depth):
        entries = [path for folder in folders for path in _listed(folder)]
        yield from (path for path in entries if path.is_file())
        folders = [
            path for path in entries if path.is_dir() and path.name not in _OF_THE_FILE_SYSTEM
        ]


def walked(root: Path, *, hidden: bool = True) -> Iterator[tuple[Path, list[str]]]:
    """Each folder from ``root`` down, with the names of the files in it; links to
    folders are not followed.

    Without ``hidden``, names that begin with a dot are skipped. Where ``root`` is no
    folder, there are none.

    Raises:
        OSError: where one of the folders cannot be listed.
    """
    if not root.is_dir():
        return
    for folder, folders, names in os.walk(root, onerror=raise_error):
        folders[:] = [
            name
            for name in folders
            if name not in _OF_THE_FILE_SYSTEM and (hidden or name[0] != ".")
        ]
        yield Path(folder), [name for name in names if hidden or name[0] != "."]


def matching(pattern: Path) -> list[Path]:
    """The matches of a pattern such as ``photos/*/part-*``, sorted; ``**`` stands for any
    number of folders.

    Raises:
        OSError: where a folder that may hold a match cannot be listed.
    """
    found = [Path(pattern.anchor)]
    for part in pattern.relative_to(pattern.anchor).parts:
        if part == "**":
            found = [below for folder in found for below, _ in walked(folder)]
        elif has_magic(part):
            folders = [folder for folder in found if folder.is_dir()]
            found = [
                path
                for folder in folders
                for path in _listed(folder)
                if fnmatchcase(path.name, part)
            ]
        else:
            found = [path for folder in found if (path := folder / part).exists()]
    return sorted(set(found))


def _listed(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return sorted(folder / entry.name for entry in entries)
