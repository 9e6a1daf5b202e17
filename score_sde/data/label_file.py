"""The labels of StyleGAN's and EDM's archives: ``{"labels": [["00000/img0.png", 3], …]}``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

from score_sde.data.file_tree import LABEL_FILE, FileTree
from score_sde.data.layout import Part
from score_sde.runtime.bounded_reading import parsed_json
from score_sde.runtime.damage import FileError, need, reading


def labels_in(tree: FileTree, part: Part) -> Int32[np.ndarray, " n"] | None:
    """The class of each image of a part, from the file `LABEL_FILE` of its folder, or of
    a folder that holds it; None where there is none with labels.

    Raises:
        ValueError: where the file is damaged, or has no whole number for one of the images.
    """
    for place in _places(part.folder):
        if f"{place}{LABEL_FILE}" in tree.label_files:
            classes = _read(tree, f"{place}{LABEL_FILE}")
            if classes is not None:
                return _chosen(tree, classes, place, part.names)
    return None


def _places(folder: str) -> list[str]:
    """A folder and those that hold it: ``a/b/``, ``a/`` and the top, ``""``."""
    parts = folder.split("/")[:-1]
    return ["".join(f"{part}/" for part in parts[:depth]) for depth in range(len(parts), -1, -1)]


def _read(tree: FileTree, name: str) -> dict[str, Any] | None:
    stored = tree.read(name)
    text = stored.read_bytes() if isinstance(stored, Path) else stored
    with reading(tree.title(name)):
        found = parsed_json(text.decode("utf-8"))
        found = found.get("labels") if isinstance(found, dict) else None
        if not found:
            return None
        pairs = list(found.items()) if isinstance(found, dict) else found
        need(
            isinstance(pairs, list)
            and all(
                isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str)
                for pair in pairs
            ),
            'its "labels" are no pairs of a file and a class (labels=False passes over it)',
        )
        return dict(pairs)


def _chosen(
    tree: FileTree, classes: dict[str, Any], place: str, names: Sequence[str]
) -> Int32[np.ndarray, " n"]:
    title = tree.title(f"{place}{LABEL_FILE}")
    found = []
    for name in names:
        label = classes.get(name[len(place) :])
        if type(label) is not int or not 0 <= label < 2**31:
            wrong = "no label" if label is None else f"the label {label!r:.50}, no class from 0,"
            raise FileError(f"{title} has {wrong} for {name[len(place) :]}: labels=False omits all")
        found.append(label)
    return np.array(found, np.int32)
