"""A folder, or a zip archive, of images with its splits and its classes."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from score_sde.data.file_tree import LABEL_FILE, FileTree, file_tree
from score_sde.data.images import Header, check_options, check_sizes, encoded_images, read_header
from score_sde.data.label_file import labels_in
from score_sde.data.layout import Part, classes_of, labels_of, parts_of
from score_sde.data.source import DataSource
from score_sde.data.splits import Split, held_out_split, load_splits
from score_sde.runtime.damage import errors_in
from score_sde.runtime.object_cache import cached

MAX_NAMES = 12
"""The most classes that the log names."""


def folder(
    path: str | Path,
    image_size: int | None = None,
    *,
    channels: int | None = None,
    train_split: str = "train",
    test_split: str | None = None,
    splits: bool | None = None,
    labels: bool | None = None,
    test_fraction: float = 0.1,
    seed: int = 0,
    in_memory: bool | None = None,
) -> DataSource:
    """Read all images below a folder, or in a ``.zip`` archive, in the order of their
    names: PNG, JPEG, WebP, TIFF, BMP and GIF, without animations; hidden files are skipped.

    Folders at the top named ``train``, ``test`` and ``validation`` (or ``training``,
    ``testing``, ``valid``, ``val``, in any case of letters) are the splits; else a random
    part is held out. Folders at the top, or within the splits, are the classes
    ``0 .. n - 1`` in the order of their names, if each image is in one. A file
    ``dataset.json``, as StyleGAN and EDM have it, takes their place.

    Images are grey (one channel) where every file is, else RGB; an alpha channel is
    dropped. The headers of all are read here, so that a wrong size or kind is found
    before training.

    >>> import tempfile
    >>> import numpy as np
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as path:
    ...     for name in ("train/cat/a.png", "train/dog/b.png", "test/cat/c.png"):
    ...         Path(path, name).parent.mkdir(parents=True, exist_ok=True)
    ...         Image.fromarray(np.zeros((4, 6), np.uint8)).save(f"{path}/{name}")
    ...     source = folder(path)
    >>> source.train.shape, source.train_labels.tolist(), source.class_names
    ((2, 4, 6, 1), [0, 1], ('cat', 'dog'))

    Args:
        path: the folder, or the archive; in object storage, it is copied to this machine
            first.
        image_size: resize the middle square of each image to ``image_size`` ×
            ``image_size`` pixels (Lanczos, antialiased).
        channels: 1 for grey images, 3 for RGB.
        train_split: the split to train on, or the name of a folder at the top.
        test_split: the held-out split, likewise; by default ``test``, else
            ``validation``, else a random part of the training split.
        splits: False takes all images as one set; True takes the folders of the splits
            and passes over images beside them, which are an error otherwise.
        labels: False takes no labels; True requires a class for every image.
        test_fraction: fraction of the examples that is held out.
        seed: seed of the random split.
        in_memory: whether all examples are decoded at once, rather than each on access;
            by default, whether they have at most 1 GiB in all.

    Raises:
        FileNotFoundError: where there is no such folder or archive.
        ValueError: where it has no images, one cannot be read, sizes differ without
            ``image_size``, or the splits or classes are ambiguous.
    """
    check_options(image_size, channels)
    tree = file_tree(cached(path))
    plan = _plan(tree, train_split, test_split, splits, labels)
    load, headers = _images(tree, plan, image_size, channels)
    source = load_splits(
        str(tree.root),
        plan.parts,
        load,
        train_split=train_split,
        test_split=plan.held_out,
        num_levels=256,
        test_fraction=test_fraction,
        seed=seed,
        in_memory=in_memory,
    )
    notes = (*_notes(tree, plan, source), _of_sizes(headers, image_size), tree.note)
    return source.with_notes(*(f"{tree.root}: {note}" for note in notes if note))


class _Plan(NamedTuple):
    """How a tree is read: all its parts, those that are used, the training split first,
    the held-out split, if it has one, the names of the classes, if they are folders, and
    the labels of each split that has them.
    """

    parts: dict[str, Part]
    used: dict[str, Part]
    held_out: str | None
    classes: tuple[str, ...] | None
    labels: dict[str, np.ndarray]


def _plan(
    tree: FileTree,
    train_split: str,
    test_split: str | None,
    splits: bool | None,
    labels: bool | None,
) -> _Plan:
    title = str(tree.root)
    chosen = {name for name in (train_split, test_split) if name is not None}
    with errors_in(title):
        parts = parts_of(title, tree.names, tree.label_files, splits, chosen)
        held_out = held_out_split(title, list(parts), train_split, test_split)
        used = {name: parts[name] for name in (train_split, held_out) if name is not None}
        return _Plan(parts, used, held_out, *_labels(tree, used, train_split, labels))


def _images(
    tree: FileTree, plan: _Plan, image_size: int | None, channels: int | None
) -> tuple[Callable[[str], Split], dict[str, Header]]:
    """The function that loads a split, and the headers of all images."""
    names = [name for part in plan.used.values() for name in part.names]
    headers = {name: read_header(tree.read(name), tree.title(name)) for name in names}
    if image_size is None:
        check_sizes([tree.title(name) for name in headers], list(headers.values()))
    if channels is None:
        channels = 1 if all(header.is_grey for header in headers.values()) else 3

    def load(split: str) -> Split:
        names = plan.used[split].names
        examples = encoded_images(
            len(names),
            lambda row: tree.read(names[row]),
            lambda row: f"example {row}, {tree.title(names[row])}",
            image_size=image_size,
            channels=channels,
            first=headers[names[0]],
        )
        return Split(examples, plan.labels.get(split), plan.classes)

    return load, headers


def _labels(
    tree: FileTree, used: Mapping[str, Part], train_split: str, labels: bool | None
) -> tuple[tuple[str, ...] | None, dict[str, np.ndarray]]:
    """The names of the classes, if they are folders, and the labels of each split that
    has them.
    """
    if labels is False:
        return None, {}
    stored = {split: labels_in(tree, part) for split, part in used.items()}
    if stored[train_split] is not None:
        return None, {split: each for split, each in stored.items() if each is not None}
    title = str(tree.root)
    classes = classes_of(title, used[train_split], labels)
    if classes is None:
        return None, {}
    if labels:
        for part in used.values():
            classes_of(title, part, labels)
    found = {split: labels_of(title, part, classes) for split, part in used.items()}
    return classes, {split: each for split, each in found.items() if each is not None}


def _notes(tree: FileTree, plan: _Plan, source: DataSource) -> tuple[str, str]:
    """The lines about the splits and the classes."""
    train, *test = [f" in {part.folder}" if part.folder else "" for part in plan.used.values()]
    held_out = test[0] if test else " at random"
    line = f"images: {len(source.train)}{train} to train on, {len(source.test)} held out{held_out}"
    others = [
        f"{len(part.names)} in {part.folder}"
        for name, part in plan.parts.items()
        if name not in plan.used
    ]
    beside = len(tree.names) - sum(len(part.names) for part in plan.parts.values())
    others += [f"{beside} in no split"] if beside else []
    unused = f", {', '.join(others)} not used" if others else ""
    return line + unused, _of_classes(source, plan.labels)


def _of_classes(source: DataSource, found: Mapping[str, np.ndarray]) -> str:
    """The line about the classes."""
    if source.train_labels is None:
        return "no classes, for the held-out images have none" if found else "no classes"
    if source.class_names is None:
        return f"classes 0 to {max(labels.max() for labels in found.values())} of {LABEL_FILE}"
    names = [f"{number} {name}" for number, name in enumerate(source.class_names)]
    most = names if len(names) <= MAX_NAMES else [*names[: MAX_NAMES - 1], "…", names[-1]]
    return f"{len(names)} classes by folder: {', '.join(most)}"


def _of_sizes(headers: Mapping[str, Header], image_size: int | None) -> str:
    """The line about images that are enlarged; empty where there are none."""
    small = [name for name, header in headers.items() if min(header.size) < (image_size or 0)]
    if not small:
        return ""
    (height, width), name = min((headers[name].size, name) for name in small)
    return (
        f"images enlarged, for they are smaller than image_size={image_size}: {len(small)}, the "
        f"smallest is {name}, {height}×{width} (height × width)"
    )
