"""Arrays in NumPy's own files (``.npz``, ``.npy``). Nothing is ever unpickled."""

import dataclasses
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from score_sde.checks import require
from score_sde.data.array_files import reading_arrays, rows_of, stored_array
from score_sde.data.examples import Examples, LazyExamples, is_lazy
from score_sde.data.source import DataSource
from score_sde.data.splits import chosen_one
from score_sde.runtime.damage import errors_in, need
from score_sde.runtime.object_cache import cached

_NPY_MAGIC = b"\x93NUMPY"


def npz(
    path: str | Path,
    key: str | None = None,
    *,
    num_levels: int | None = None,
    test_fraction: float = 0.1,
    seed: int = 0,
    in_memory: bool | None = None,
) -> DataSource:
    """Read the array ``key`` of an ``.npz`` file, by default its only array.

    Without a key, a file with the arrays ``train`` and ``test`` holds the two splits;
    ``train_labels`` and ``test_labels``, integers of shape ``[n]``, are then the
    classes of their examples.

    Integers of shape ``[n, h, w]`` or ``[n, h, w, c]`` are images with ``num_levels``
    levels (256 by default), floats of shape ``[n, d]`` are continuous vectors.

    An array of more than 1 GiB stays in the file, and its rows are read on access;
    ``in_memory`` decides for an array of any size. Compressed arrays are
    always read into memory. Rows that stay in the file are not checked against the
    checksums of the archive.

    Args:
        path: the file; in object storage, it is copied to this machine first.
        key: the name of the array.
        num_levels: number of levels of images, 2 to 65536.
        test_fraction: fraction of the examples that is held out.
        seed: seed of the random split.
        in_memory: whether the array is read at once.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/a.npz", x=np.zeros((20, 8, 8), np.uint8))
    ...     npz(f"{folder}/a.npz").train.shape
    (18, 8, 8, 1)

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where the file is damaged, has no such key (the keys are listed),
            the array holds neither images nor vectors, or ``in_memory`` is False and
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
    if key is None and {"train", "test"} <= set(_keys(path)):
        return _from_splits(path, num_levels, in_memory)
    return _from_array(_examples(path, key, in_memory), path, num_levels, test_fraction, seed)


def npy(
    path: str | Path,
    *,
    num_levels: int | None = None,
    test_fraction: float = 0.1,
    seed: int = 0,
    in_memory: bool | None = None,
) -> DataSource:
    """Read the array of an ``.npy`` file: images or vectors, in memory or not, as `npz` does.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/a.npy", np.zeros((20, 3), np.float32))
    ...     npy(f"{folder}/a.npy").train.shape
    (18, 3)

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where the file is damaged or holds neither images nor vectors.
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
    return _from_array(examples, path, num_levels, test_fraction, seed)


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


def _from_array(
    array: Examples, path: Path, num_levels: int | None, test_fraction: float, seed: int
) -> DataSource:
    array, num_levels = images_or_vectors(array, path, num_levels)
    with errors_in(path):
        return DataSource.from_examples(
            array, num_levels=num_levels, test_fraction=test_fraction, seed=seed
        )


def _from_splits(path: Path, num_levels: int | None, in_memory: bool | None) -> DataSource:
    """The source whose splits, and the labels of both if there are any, are arrays of their own."""
    keys = _keys(path)
    train_labels, test_labels = (
        _stored(path, name) if name in keys else None for name in ("train_labels", "test_labels")
    )
    (train, levels), (test, _) = (
        images_or_vectors(_examples(path, split, in_memory, f"{split} "), path, num_levels)
        for split in ("train", "test")
    )
    with errors_in(path):
        return DataSource(
            train=train,
            test=test,
            num_levels=levels,
            train_labels=train_labels,
            test_labels=test_labels,
        )


def images_or_vectors(
    array: Examples, path: str | Path, num_levels: int | None
) -> tuple[Examples, int | None]:
    """Images as ``[n, h, w, c]`` with their number of levels (256 by default, 2 for
    Booleans), or vectors as they are.

    Raises:
        ValueError: where they are neither; the message begins with ``path``.
    """
    kind, shape = array.dtype.kind, array.shape
    found = f"{path} holds {array.dtype} of shape {shape}"
    require(kind in "biuf", f"{found}; images must be integers and vectors floats")
    if kind == "f":
        require(
            num_levels is None,
            f"{found}; num_levels={num_levels} is for images of integers, so omit it",
        )
        require(
            len(shape) == 2,
            f"{found}; floats must be vectors [n, d] (images are integers [n, h, w] or "
            "[n, h, w, c])",
        )
        return array, None
    require(
        len(shape) in (3, 4),
        f"{found}; images must be [n, h, w] or [n, h, w, c] (vectors [n, d] are floats)",
    )
    default = 2 if kind == "b" else 256
    images = _with_channel(array) if len(shape) == 3 else array
    return images, default if num_levels is None else num_levels


def _with_channel(images: Examples) -> Examples:
    if not isinstance(images, LazyExamples):
        return images[..., None]
    return dataclasses.replace(
        images, shape=(*images.shape, 1), read=lambda row: images.read(row)[..., None]
    )
