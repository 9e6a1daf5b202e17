"""Arrays in NumPy's own files (``.npz``, ``.npy``). Nothing is ever unpickled."""

import dataclasses
import zipfile
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from score_sde.data.array_files import rows_of, stored_array
from score_sde.data.examples import Examples, LazyExamples, is_lazy
from score_sde.data.source import DataSource
from score_sde.runtime.unreadable import is_of_system, message_of

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
    """Read the array ``key`` of an ``.npz`` file; the key may be left out where the
    file holds one array.

    Without a key, a file with the arrays ``train`` and ``test`` holds the two splits;
    ``train_labels`` and ``test_labels``, integers of shape ``[n]``, are then the
    classes of their examples.

    Integers of shape ``[n, h, w]`` or ``[n, h, w, c]`` are images with ``num_levels``
    levels (256 by default), floats of shape ``[n, d]`` are continuous vectors.

    An array of more than 1 GiB stays in the file, and its rows are read when they are
    asked for; ``in_memory`` says so of any array, or of none. Compressed arrays are
    always read into memory. The checksums of the archive are checked only of what is
    read into memory.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where the file is corrupt, has no such key (the keys are listed) or
            holds no such array, or where ``in_memory`` is False and its rows cannot be
            read one by one.
    """
    path = _existing(path)
    if not zipfile.is_zipfile(path):
        hint = (
            f"it is a .npy file: name it as npy:{path}"
            if _is_npy(path)
            else "it may be cut off or corrupt"
        )
        raise ValueError(f"{path} is not an .npz file; {hint}")
    if key is None and {"train", "test"} <= set(_read(path, lambda: _keys(path))):
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
    """Read the array of an ``.npy`` file: images or vectors, in memory or not, as for ``npz``.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where the file is corrupt or holds neither images nor vectors.
    """
    path = _existing(path)
    if not _is_npy(path):
        hint = (
            f"it is an .npz file: name it as npz:{path}"
            if zipfile.is_zipfile(path)
            else "it may be corrupt"
        )
        raise ValueError(f"{path} is not an .npy file; {hint}")
    examples = _lazy(path, None, in_memory)
    if examples is None:
        examples = stored_labels(path)
    return _from_array(examples, path, num_levels, test_fraction, seed)


def stored_labels(path: Path) -> np.ndarray:
    """The array of an ``.npy`` file.

    Raises:
        ValueError: where the file is corrupt.
    """

    def array() -> Any:
        stored_array(path)  # whose header is checked before there is room for what it promises
        return np.load(path, allow_pickle=False)

    return _array(path, array)


def _existing(path: str | Path) -> Path:
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    if not path.is_file():
        raise ValueError(f"{path} is not a file; a folder of images is named as folder:{path}")
    return path


def _is_npy(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(_NPY_MAGIC)) == _NPY_MAGIC


def _keys(path: Path) -> list[str]:
    # Opened here, for np.load leaves a path that it opened itself open where the
    # archive is damaged.
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        return list(archive.files)


def _chosen(path: Path, key: str | None) -> str:
    """The key of the one array that is meant."""
    keys = _read(path, lambda: _keys(path))
    if key is None and len(keys) != 1:
        raise ValueError(
            f"{path} holds {len(keys)} arrays; choose one by key=…: {', '.join(keys) or 'none'}"
        )
    if key is not None and key not in keys:
        close = get_close_matches(key, keys, 1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"{path} has no array {key!r}{hint}; it holds: {', '.join(keys) or 'none'}"
        )
    return keys[0] if key is None else key


def _stored(path: Path, key: str) -> np.ndarray:
    def member() -> Any:
        stored_array(path, key)
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return archive[key]

    return _array(path, member)


def _examples(path: Path, key: str | None, in_memory: bool | None, prefix: str = "") -> Examples:
    """The array of a key: in memory, or its rows in the file."""
    key = _chosen(path, key)
    rows = _lazy(path, key, in_memory, prefix)
    return _stored(path, key) if rows is None else rows


def _lazy(
    path: Path, key: str | None, in_memory: bool | None, prefix: str = ""
) -> LazyExamples | None:
    """The rows of an array in its file; None where it is to be read into memory.

    Raises:
        ValueError: where that is forbidden by ``in_memory`` and the rows cannot be read
            one by one.
    """
    if in_memory:
        return None
    stored = _read(path, lambda: stored_array(path, key))
    if not is_lazy(in_memory, stored.shape, stored.dtype):
        return None
    if not stored.obstacle:
        return rows_of(path, stored, prefix)
    if in_memory is None or stored.dtype.hasobject:  # objects have an error of their own
        return None
    array = f"array {key!r}" if key else "its array"
    raise ValueError(
        f"{path}: {array} cannot be left in the file, for {stored.obstacle}; or leave in_memory out"
    )


def _array(path: Path, read: Callable[[], Any]) -> np.ndarray:
    array = _read(path, read)
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path} is corrupt: it does not hold an array of NumPy")
    return array


def _read(path: Path, read: Callable[[], Any]) -> Any:
    """Return ``read()``, with whatever a reader raises on foreign bytes turned into one line."""
    try:
        return read()
    # zip, zlib, header and allocation errors alike: damaged bytes can raise any of them
    except Exception as error:
        if is_of_system(error):
            raise
        if "Object arrays" in str(error):
            raise ValueError(
                f"{path} holds Python objects, which are never unpickled; save plain numbers"
            ) from error
        raise ValueError(f"{path} is corrupt and cannot be read ({message_of(error)})") from error


def _from_array(
    array: Examples, path: Path, num_levels: int | None, test_fraction: float, seed: int
) -> DataSource:
    array, num_levels = images_or_vectors(array, path, num_levels)
    try:
        return DataSource.from_examples(
            array, num_levels=num_levels, test_fraction=test_fraction, seed=seed
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


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
    try:
        return DataSource(
            train=train,
            test=test,
            num_levels=levels,
            train_labels=train_labels,
            test_labels=test_labels,
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def images_or_vectors(
    array: Examples, path: str | Path, num_levels: int | None
) -> tuple[Examples, int | None]:
    """Images as ``[n, h, w, c]`` with their number of levels (256 by default), or
    vectors as they are.

    Raises:
        ValueError: where they are neither; it names the file, ``path``.
    """
    kind, shape = array.dtype.kind, array.shape
    found = f"{path} holds {array.dtype} of shape {shape}"
    if kind not in "biuf":
        raise ValueError(f"{found}; images must be integers and vectors floats")
    if kind == "f" and num_levels is not None:
        raise ValueError(
            f"{found}; num_levels={num_levels} is for images of integers, so leave it out"
        )
    if kind == "f" and len(shape) != 2:
        raise ValueError(
            f"{found}; floats must be vectors [n, d] (images are integers [n, h, w] or [n, h, w, "
            "c])"
        )
    if kind != "f" and len(shape) not in (3, 4):
        raise ValueError(
            f"{found}; images must be [n, h, w] or [n, h, w, c] (vectors [n, d] are floats)"
        )
    if kind != "f":
        num_levels = (2 if kind == "b" else 256) if num_levels is None else num_levels
        array = _with_channel(array) if len(shape) == 3 else array
    return array, num_levels


def _with_channel(images: Examples) -> Examples:
    if not isinstance(images, LazyExamples):
        return images[..., None]
    return dataclasses.replace(
        images, shape=(*images.shape, 1), read=lambda row: images.read(row)[..., None]
    )
