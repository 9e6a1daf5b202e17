"""Files below a folder; a folder that cannot be listed is an error.

``Path.glob`` and ``os.walk`` skip folders that they may not list: their examples would be
missing, and a model would be trained on other data. A link to a folder is as good as the
folder.
"""

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from glob import has_magic
from pathlib import Path

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


def walked(
    root: Path, *, hidden: bool = True, skipped: list[Path] | None = None
) -> Iterator[tuple[Path, list[str]]]:
    """Each folder from ``root`` down, with the names of the files in it, sorted.

    Links to folders are followed, except to a folder that holds the link. Without
    ``hidden``, names that begin with a dot are skipped, and added to ``skipped``. Where
    ``root`` is no folder, there are none.

    Raises:
        OSError: where one of the folders cannot be listed.
    """
    # The folders to visit, each with the identities of those that hold it.
    waiting: list[tuple[Path, tuple[tuple[int, int], ...]]] = [(root, ())]
    while waiting:
        folder, above = waiting.pop()
        status = folder.stat() if folder.is_dir() else None
        if status is None or (status.st_dev, status.st_ino) in above:
            continue
        inside = (*above, (status.st_dev, status.st_ino))
        files, folders = [], []
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name in _OF_THE_FILE_SYSTEM:
                    continue
                if not hidden and entry.name[0] == ".":
                    if skipped is not None:
                        skipped.append(folder / entry.name)
                    continue
                (folders if _is_folder(entry) else files).append(entry.name)
        yield folder, files
        waiting += [(folder / name, inside) for name in reversed(folders)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


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
