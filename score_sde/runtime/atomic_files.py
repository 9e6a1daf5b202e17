"""Files that appear whole or not at all, with a mark that this package wrote them."""

import os
import secrets
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from score_sde import checks
from score_sde.runtime.working_copy import fetch, publish

PathLike: TypeAlias = str | os.PathLike[str]
"""A path in the file system."""


@contextmanager
def replacing(path: PathLike) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it when the block ends without an error.

    Missing parent folders are made. After an error the old file, if any, is unchanged.
    A link stays, and the file that it names is replaced. In a copy of object storage, the
    new file is written there too.
    """
    target = destination(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}-{secrets.token_hex(4)}{target.suffix}")
    try:
        yield temporary
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    publish(target)


def destination(path: PathLike) -> Path:
    """The file or folder that a path names: for a link, the one at its end.

    Raises:
        FileNotFoundError: for a link into a folder that is not there.
    """
    path = Path(path)
    if not path.is_symlink():
        return path
    end = Path(os.path.realpath(path))
    if end.is_symlink() or not end.parent.is_dir():
        raise FileNotFoundError(f"{path} is a link to {end}, which is not there")
    return end


def make_folder(folder: Path) -> None:
    """Make a folder to write in, unless it exists.

    Raises:
        OSError: where a file or a link to nothing is in its place, or nothing can be
            written there.
        ValueError: where its name is no text, as the checkpoint library needs.
    """
    try:
        os.fspath(folder).encode()
    except UnicodeEncodeError:
        checks.fail(
            "folder",
            str(folder),
            f"a name in the encoding of this system, {sys.getfilesystemencoding()}: choose another "
            "name, or set PYTHONUTF8=1",
        )
    if folder.is_symlink() and not folder.exists():
        raise FileNotFoundError(f"{folder} is a link to {folder.readlink()}, which is not there")
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file where a folder is needed")
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"cannot write in {folder}")


MARK = "score_sde"
"""The mark in images, animations and archives of arrays that this package has written."""

_MARKED = (
    (b"\x89PNG", b"Software\0" + MARK.encode()),
    (b"GIF8", MARK.encode()),
    (b"#!/bin/bash\n# Written by `score-sde launch", b""),
)
"""The first bytes of a kind of file, and the mark in its first 4096 bytes."""


def write_arrays(path: PathLike, **arrays: Any) -> None:
    """Write arrays to a compressed ``.npz`` file with the mark of this package, atomically."""
    with replacing(path) as temporary:
        with temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.comment = MARK.encode()


def is_marked(path: Path) -> bool:
    """Whether an image, an archive of arrays or a batch script has the mark of this package."""
    fetch(path)
    with path.open("rb") as file:
        head = file.read(4096)
        file.seek(max(0, path.stat().st_size - len(MARK)))
        tail = file.read()
    if head.startswith(b"PK"):
        return tail == MARK.encode()
    return any(head.startswith(start) and mark in head for start, mark in _MARKED)
