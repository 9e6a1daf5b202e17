"""The splits and the classes of images, by the names of their folders.

Names are paths with ``/``. Folders at the top that are named as a split are splits; the
folders at the top of a split, or of everything where there are no splits, are classes.
Folders around everything, as archives have them, do not count.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from score_sde.checks import require
from score_sde.data.splits import split_of
from score_sde.runtime.naming import did_you_mean

WHOLE = "train"
"""The name of the only split of images without splits."""


class Part(NamedTuple):
    """The images of a split: the folder that they are in, ``""`` or a path that ends in
    ``/``, and their names.
    """

    folder: str
    names: list[str]


def parts_of(
    title: str,
    names: Sequence[str],
    label_files: Collection[str],
    splits: bool | None,
    also: set[str],
) -> dict[str, Part]:
    """The parts of images by their split: ``train``, ``test`` and ``validation``, or what
    there is of them; ``train`` alone where they have no splits.

    >>> parts_of("photos", ["Train/a.png", "val/b.png"], [], None, set())
    {'train': Part(folder='Train/', ...), 'validation': Part(folder='val/', names=['val/b.png'])}

    Args:
        title: the place, with which messages begin.
        names: the images, at least one.
        label_files: the files of labels, which are beside images, not around them.
        splits: whether the folders at the top are splits; None for by their names.
        also: further names of folders that are splits.

    Raises:
        ValueError: where the layout could be meant in two ways.
    """
    base = _base(names, label_files, also)
    if splits is False:
        return {WHOLE: Part(base, list(names))}
    folders: dict[str, list[str]] = {}
    rest: list[str] = []
    for name in names:
        top, slash, _ = name[len(base) :].partition("/")
        named = slash and _split(top, also)
        (folders.setdefault(top, []) if named else rest).append(name)
    if not folders:
        require(not splits, f"{title} has no folders train and test: omit splits=True")
        _check_below(title, names, base)
        return {WHOLE: Part(base, list(names))}
    found: dict[str, Part] = {}
    for top, inside in folders.items():
        split = _split(top, also) or top
        if split in found:
            raise ValueError(
                f"{title} has two folders for the split {split}: {found[split].folder} and "
                f"{base}{top}/; keep one of them"
            )
        found[split] = Part(f"{base}{top}/", inside)
    if rest and not splits:
        raise ValueError(
            f"{title} has images beside the folders {', '.join(folders)}, such as {rest[0]}: "
            "splits=True takes these folders as the splits and nothing else, splits=False all "
            "images as one set"
        )
    return found


def classes_of(title: str, part: Part, labels: bool | None) -> tuple[str, ...] | None:
    """The names of the classes of a part, sorted: the folders at its top; None where it
    has none.

    There are none where an image is in no folder, where all are in one, where the
    folders are named as splits, or where ``labels`` is False.

    Raises:
        ValueError: where ``labels`` is True and an image is in no folder.
    """
    if labels is False:
        return None
    tops = {_top(part, name) for name in part.names}
    if labels:
        require(
            None not in tops,
            f"{title}: labels=True needs each image in a folder of its class, and "
            f"{part.folder or 'the top'} has images of its own",
        )
    elif None in tops or len(tops) < 2 or all(split_of(top or "") for top in tops):
        return None
    return tuple(sorted(top for top in tops if top is not None))


def labels_of(title: str, part: Part, classes: Sequence[str]) -> Int32[np.ndarray, " n"] | None:
    """The class of each image of a part, an index of ``classes``; None where an image is
    in no folder.

    Raises:
        ValueError: where a folder is none of the classes.
    """
    number = {name: index for index, name in enumerate(classes)}
    found = []
    for name in part.names:
        top = _top(part, name)
        if top is None:
            return None
        require(
            top in number,
            f"{title}: {part.folder}{top} is no class of the training split"
            f"{did_you_mean(top, classes)}; labels=False takes no folder as a class",
        )
        found.append(number[top])
    return np.array(found, np.int32)


def _base(names: Sequence[str], label_files: Collection[str], also: set[str]) -> str:
    """The folders around everything that are neither a split nor beside a file of labels."""
    base = ""
    while True:
        tops = {name[len(base) :].partition("/")[:2] for name in names}
        (top, slash), *others = tops
        if others or not slash or _split(top, also):
            return base
        if any(file.rpartition("/")[0] == base.rstrip("/") for file in label_files):
            return base
        base = f"{base}{top}/"


def _split(top: str, also: set[str]) -> str | None:
    return top if top in also else split_of(top)


def _top(part: Part, name: str) -> str | None:
    """The folder at the top of a part that an image is in."""
    top, slash, _ = name[len(part.folder) :].partition("/")
    return top if slash else None


def _check_below(title: str, names: Sequence[str], base: str) -> None:
    """Raise ``ValueError`` where a folder below has folders for training and for held-out
    images: as one set, their images would be mixed.
    """
    splits: dict[str, set[str]] = {}
    for folder in {name.rpartition("/")[0] for name in names}:
        parts = folder.split("/")
        for depth, part in enumerate(parts):
            split = split_of(part)
            if split:
                splits.setdefault("/".join(parts[:depth]), set()).add(split)
    for place, found in sorted(splits.items()):
        require(
            not ("train" in found and len(found) > 1),
            f"{title} has the splits {' and '.join(sorted(found))} in {place}: only folders at the "
            f"top{f' of {base}' if base else ''} are splits; name that folder, or splits=False "
            "takes all images as one set",
        )
