"""The images below a folder, or in a zip archive: their names, and their bytes."""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from score_sde.checks import require
from score_sde.data.images import SUFFIXES
from score_sde.data.listing import walked
from score_sde.data.zip_members import member_bytes, members_of
from score_sde.runtime.damage import reading

LABEL_FILE = "dataset.json"
"""The file of labels in the archives and folders of StyleGAN and EDM."""

HIDDEN, NO_IMAGE, NO_FILE = "hidden", "not an image", "broken link or device"
_OF_ARCHIVERS = ("__MACOSX",)


@dataclass(frozen=True, kw_only=True)
class FileTree:
    """The images in a place, and why its other files are passed over.

    Attributes:
        root: the folder or archive.
        names: the images by their paths below ``root``, with ``/``, sorted.
        label_files: the files `LABEL_FILE`, likewise.
        read: the file or the bytes of a name.
        skipped: the number of further files by reason.
        suffixes: the ends of the names of those that are no images.
    """

    root: Path
    names: list[str]
    label_files: list[str]
    read: Callable[[str], Path | bytes]
    skipped: Counter[str] = field(default_factory=Counter)
    suffixes: tuple[str, ...] = ()

    def title(self, name: str) -> str:
        """The name of a file in messages."""
        return str(self.root / name)

    @property
    def note(self) -> str:
        """What is passed over, for the log; empty where nothing is."""
        if not self.skipped:
            return ""
        reasons = [f"{self.skipped[reason]} {reason}" for reason in sorted(self.skipped)]
        others = f" ({', '.join(self.suffixes)})" if self.suffixes else ""
        return f"files passed over: {', '.join(reasons)}{others}"


def file_tree(path: Path) -> FileTree:
    """The images in a folder and the folders below it, or in a zip archive.

    Hidden files, whose names or folders begin with a dot, are passed over.

    Raises:
        FileNotFoundError: where there is no such folder or file.
        ValueError: where it is no folder and no zip archive, or has no images.
    """
    if not path.exists():
        raise FileNotFoundError(f"no such folder: {path}")
    found = _of_folder(path) if path.is_dir() else _of_archive(path)
    place = "folders below" if path.is_dir() else "archive"
    require(
        found.names,
        f"no images in {path}: looked for {', '.join(SUFFIXES)} files in it and the {place}",
    )
    return found


def _of_folder(root: Path) -> FileTree:
    hidden: list[Path] = []
    names, skipped = [], Counter[str]()
    for folder, files in walked(root, hidden=False, skipped=hidden):
        below = PurePosixPath(os.path.relpath(folder, root).replace(os.sep, "/"))
        for name in files:
            if _is_wanted(name) and not (folder / name).is_file():
                skipped[NO_FILE] += 1
            else:
                names.append(str(below / name))
    if hidden:
        skipped[HIDDEN] = len(hidden)
    return _sorted_out(root, names, skipped, lambda name: root / name)


def _of_archive(path: Path) -> FileTree:
    require(path.suffix.lower() == ".zip", f"{path} is not a folder, nor a .zip archive")
    members = members_of(path)
    names, skipped = [], Counter[str]()
    for name in members:
        parts = name.split("/")
        if any(part[:1] == "." or part in _OF_ARCHIVERS for part in parts):
            skipped[HIDDEN] += 1
        else:
            names.append(name)

    def read(name: str) -> bytes:
        with reading(path / name):
            return member_bytes(path, members[name])

    return _sorted_out(path, names, skipped, read)


def _is_wanted(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) or name == LABEL_FILE


def _sorted_out(
    root: Path, names: list[str], skipped: Counter[str], read: Callable[[str], Path | bytes]
) -> FileTree:
    """The tree of these names, of which some are no images."""
    images = sorted(name for name in names if name.lower().endswith(SUFFIXES))
    labels = [name for name in names if PurePosixPath(name).name == LABEL_FILE]
    others = [name for name in names if not _is_wanted(PurePosixPath(name).name)]
    if others:
        skipped[NO_IMAGE] = len(others)
    suffixes = Counter(PurePosixPath(name).suffix.lower() or "no suffix" for name in others)
    most = tuple(suffix for suffix, _ in suffixes.most_common(5))
    return FileTree(
        root=root, names=images, label_files=labels, read=read, skipped=skipped, suffixes=most
    )
