"""Arrays in NumPy's own files (``.npz``, ``.npy``). Nothing is ever unpickled."""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from score_sde.checks import require
from score_sde.data.array_examples import ArrayExamples, array_examples
from score_sde.data.array_files import reading_arrays, rows_of, stored_array
from score_sde.data.array_names import Names, names_of_pair, names_of_splits
from score_sde.data.examples import Examples, LazyExamples, is_lazy
from score_sde.data.source import DataSource
from score_sde.data.splits import check_known, chosen_one, held_out_split
from score_sde.runtime.damage import errors_in, need
from score_sde.runtime.object_cache import cached

_NPY_MAGIC = b"\x93NUMPY"


def npz(
    path: str | Path,
    key: str | None = None,
    *,
    label: str | None = None,
    num_levels: int | None = None,
    channels_first: bool | None = None,
    train_split: str = "train",
    test_split: str | None = None,
    test_fraction: float = 0.1,
    seed: int = 0,
    in_memory: bool | None = None,
) -> DataSource:
    """Read the array ``key`` of an ``.npz`` file, by default its only array.

    Without a key, a file with the arrays ``train`` and ``test`` holds the two splits;
    ``train_labels`` and ``test_labels``, integers of shape ``[n]`` or ``[n, 1]``, are
    then the classes of their examples. Other names of such arrays are ``x_train`` and
    ``y_train``, ``train_images`` and ``train_labels``, with ``test``, ``val``, ``valid``
    or ``validation`` for the held-out split. A file with ``images`` and ``labels``, ``x``
    and ``y``, or ``arr_0`` and ``arr_1`` alone holds examples and their classes.

    Integers of shape ``[n, h, w]`` or ``[n, h, w, c]`` are images with ``num_levels``
    levels (256 by default). Floats of shape ``[n, ...]``, vectors or latents, are
    continuous: they are not scaled, unless ``data.standardize`` of a config says so.

    An array of more than 1 GiB stays in the file, and its rows are read on access;
    ``in_memory`` decides for an array of any size. Compressed arrays are
    always read into memory. Rows that stay in the file are not checked against the
    checksums of the archive.

    Args:
        path: the file; in object storage, it is copied to this machine first.
        key: the name of the array.
        label: the name of the array of its classes.
        num_levels: number of levels of images, 2 to 65536.
        channels_first: True moves the channels of ``[n, c, h, w]`` to the end; False
            takes any shape as it is; None does that too, and raises an error for images
            that seem to have their channels first.
        train_split: the split to train on.
        test_split: the held-out split; by default ``test``, else ``validation``.
        test_fraction: fraction of the examples that is held out, where there are no
            splits.
        seed: seed of the random split.
        in_memory: whether the array is read at once.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/a.npz", x=np.zeros((20, 8, 8), np.uint8), y=np.arange(20))
    ...     source = npz(f"{folder}/a.npz")
    >>> source.train.shape, source.train_labels.shape
    ((18, 8, 8, 1), (18,))

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where the file is damaged, has no such key (the keys are listed),
            the array holds neither images nor floats, or ``in_memory`` is False and
            the rows cannot be read one by one.
    """
    path = _existing(path)
    if not zipfile.is_zipfile(path):
        hint = (
            f"it is a .npy file: name it as npy:{path}"
            if _is_npy(path)
            else "it may be cut off or damaged"
        )
        raise ValueError(f"{path} is not an .npz file; {hint}")
    keys = _keys(path)

    def read(names: Names, prefix: str = "") -> LabelledArray:
        array = _examples(path, names.examples, in_memory, prefix)
        found = array_examples(array, path, num_levels, channels_first)
        return LabelledArray(found, None if names.labels is None else _labels(path, names.labels))

    splits = names_of_splits(keys) if key is None and label is None else {}
    held_out = held_out_split(str(path), list(splits), train_split, test_split) if splits else None
    if held_out is not None:
        return _of_splits(path, splits, read, train_split, held_out)
    names = splits[train_split] if splits else _one(path, keys, key, label)
    return _random(path, *read(names), test_fraction, seed)


def npy(
    path: str | Path,
    *,
    num_levels: int | None = None,
    channels_first: bool | None = None,
    test_fraction: float = 0.1,
    seed: int = 0,
    in_memory: bool | None = None,
) -> DataSource:
    """Read the array of an ``.npy`` file: images or floats, in memory or not, as `npz` does.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/a.npy", np.zeros((20, 3), np.float32))
    ...     npy(f"{folder}/a.npy").train.shape
    (18, 3)

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where the file is damaged or holds neither images nor floats.
    """
    path = _existing(path)
    if not _is_npy(path):
        hint = (
            f"it is an .npz file: name it as npz:{path}"
            if zipfile.is_zipfile(path)
            else "it may be damaged"
        )
        raise ValueError(f"{path} is not an .npy file; {hint}")
    examples = _lazy(path, None, in_memory)
    if examples is None:
        examples = read_npy(path)
    found = array_examples(examples, path, num_levels, channels_first)
    return _random(path, found, None, test_fraction, seed)


def read_npy(path: Path) -> np.ndarray:
    """The array of an ``.npy`` file.

    Raises:
        ValueError: where the file is damaged.
    """

    def array() -> Any:
        stored_array(path)  # a header may promise any size, for which NumPy allocates
        return np.load(path, allow_pickle=False)

    return _array(path, array)


def _existing(path: str | Path) -> Path:
    path = cached(path)
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    require(path.is_file(), f"{path} is not a file; a folder of images is named as folder:{path}")
    return path


def _is_npy(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(_NPY_MAGIC)) == _NPY_MAGIC


def _keys(path: Path) -> list[str]:
    # Opened here, for np.load leaves a path that it opened itself open where the
    # archive is damaged.
    with (
        reading_arrays(path),
        path.open("rb") as stream,
        np.load(stream, allow_pickle=False) as archive,
    ):
        return list(archive.files)


def _stored(path: Path, key: str) -> np.ndarray:
    def member() -> Any:
        stored_array(path, key)
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return archive[key]

    return _array(path, member)


def _examples(path: Path, key: str | None, in_memory: bool | None, prefix: str = "") -> Examples:
    """The array of a key: in memory, or its rows in the file."""
    keys = _keys(path)
    key = chosen_one(path, "array", "key", key, keys, keys)
    rows = _lazy(path, key, in_memory, prefix)
    return _stored(path, key) if rows is None else rows


def _lazy(
    path: Path, key: str | None, in_memory: bool | None, prefix: str = ""
) -> LazyExamples | None:
    """The rows of an array in its file; None where it is to be read into memory.

    Raises:
        ValueError: where ``in_memory`` is False and the rows cannot be read one by one.
    """
    if in_memory:
        return None
    with reading_arrays(path):
        stored = stored_array(path, key)
    if not is_lazy(in_memory, stored.shape, stored.dtype):
        return None
    if not stored.obstacle:
        return rows_of(path, stored, prefix)
    if in_memory is None or stored.dtype.hasobject:  # objects have an error of their own
        return None
    array = f"array {key!r}" if key else "its array"
    raise ValueError(
        f"{path}: {array} cannot stay in the file, because {stored.obstacle}; or omit in_memory"
    )


def _array(path: Path, read: Callable[[], Any]) -> np.ndarray:
    with reading_arrays(path):
        array = read()
        need(isinstance(array, np.ndarray), "it does not hold an array of NumPy")
        return array


class LabelledArray(NamedTuple):
    """Examples, and their labels if they have any."""

    found: ArrayExamples
    labels: np.ndarray | None


def _of_splits(
    path: Path,
    splits: Mapping[str, Names],
    read: Callable[[Names, str], LabelledArray],
    train_split: str,
    held_out: str,
) -> DataSource:
    """The source whose splits, and the labels of each if there are any, are arrays of their own."""
    train, train_labels = read(splits[train_split], f"{train_split} ")
    test, test_labels = read(splits[held_out], f"{held_out} ")
    with errors_in(path):
        source = DataSource(
            train=train.examples,
            test=test.examples,
            num_levels=train.num_levels,
            train_labels=train_labels,
            test_labels=test_labels,
        )
    names = splits[train_split].examples, splits[held_out].examples
    return _noted(source, path, f"{names[0]} to train on, {names[1]} held out", train.note)


def _one(path: Path, keys: list[str], key: str | None, label: str | None) -> Names:
    """The chosen array and labels, or the only ones."""
    pair = names_of_pair(keys) if key is None and label is None else None
    if pair and pair.labels and _is_label(path, pair.labels):
        return pair
    if label is not None:
        check_known(path, "array", label, keys)
    others = [name for name in keys if name != label]
    return Names(chosen_one(path, "array", "key", key, others, keys), label)


def _is_label(path: Path, key: str) -> bool:
    """Whether an array holds integers ``[n]`` or ``[n, 1]``."""
    with reading_arrays(path):
        stored = stored_array(path, key)
    return stored.dtype.kind in "iu" and stored.shape[1:] in ((), (1,)) and bool(stored.shape)


def _labels(path: Path, key: str) -> np.ndarray:
    labels = _stored(path, key)
    return labels[:, 0] if labels.shape[1:] == (1,) else labels


def _random(
    path: Path, found: ArrayExamples, labels: np.ndarray | None, test_fraction: float, seed: int
) -> DataSource:
    """The source of which a random part is held out."""
    with errors_in(path):
        source = DataSource.from_examples(
            found.examples,
            num_levels=found.num_levels,
            labels=labels,
            test_fraction=test_fraction,
            seed=seed,
        )
    return _noted(source, path, found.note)


def _noted(source: DataSource, path: Path, *notes: str) -> DataSource:
    return source.with_notes(*(f"{path}: {note}" for note in notes if note))
