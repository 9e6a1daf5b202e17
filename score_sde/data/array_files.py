"""The rows of an array in an ``.npy`` file, or in a member of an ``.npz`` archive, read one by one.

A row is read by its place in the file rather than through a memory map: threads then
read side by side, and a file that has become shorter, or a disk that fails, is an error
that names the row, where a map would end the process.
"""

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from score_sde.data.examples import LazyExamples
from score_sde.data.zip_members import member_offset
from score_sde.runtime.bounded_reading import check_member
from score_sde.runtime.damage import FileError, need, reading

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class StoredArray(NamedTuple):
    """Where an array lies in a file, or why its rows cannot be read one by one.

    ``obstacle``: the reason, or an empty text where they can.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    obstacle: str


@contextmanager
def reading_arrays(path: Path) -> Iterator[None]:
    """Turn what NumPy and its helpers raise on damaged bytes into one line that names
    the file.

    Raises:
        FileError: where the file is damaged, or holds Python objects.
        OSError, MemoryError: where the system, not the bytes, is the cause.
    """
    with reading(path):
        try:
            yield
        except ValueError as error:
            if "Object arrays" not in str(error):
                raise
            raise FileError(
                f"{path} holds Python objects, which are never unpickled; save plain numbers"
            ) from error


def stored_array(path: Path, key: str | None = None) -> StoredArray:
    """Find the array of an ``.npy`` file, or of a key of an ``.npz`` archive, by its header alone.

    Raises:
        ValueError: where the header is damaged, or the file ends before its array does.
        OSError, KeyError, zipfile.BadZipFile: where the archive is damaged.
    """
    with path.open("rb") as stream:
        if key is None:
            return _described(stream, path.stat().st_size)
        with zipfile.ZipFile(stream) as archive:
            entry = archive.getinfo(f"{key}.npy")
            if entry.compress_type != zipfile.ZIP_STORED:
                check_member(entry, path)
                with archive.open(entry) as inside:
                    return _described(inside, entry.file_size, whole=True)._replace(
                        obstacle="it is compressed: save it by np.savez"
                    )
        stream.seek(member_offset(stream, entry))
        return _described(
            stream, min(stream.tell() + entry.file_size, path.stat().st_size), whole=True
        )


def rows_of(path: Path, stored: StoredArray, prefix: str = "") -> LazyExamples:
    """The rows of an array without obstacle; in errors, ``prefix`` comes before
    ``example 3``.
    """
    shape, size = stored.shape[1:], math.prod(stored.shape[1:]) * stored.dtype.itemsize

    def name(row: int) -> str:
        return f"{path}: {prefix}example {row}"

    def read(row: int) -> np.ndarray:
        found = np.empty(size, np.uint8)
        with path.open("rb", buffering=0) as stream:
            stream.seek(stored.offset + row * size)
            if stream.readinto(found.data) != size:
                raise OSError(f"{name(row)} cannot be read: the file ends before it does")
        return found.view(stored.dtype).reshape(shape)

    return LazyExamples(shape=stored.shape, dtype=stored.dtype, read=read, name=name)


def _described(stream: Any, end: int, *, whole: bool = False) -> StoredArray:
    """The array whose ``.npy`` bytes begin here and end at ``end`` at the latest;
    ``whole``: exactly there.
    """
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        return StoredArray(
            (), np.dtype(np.uint8), 0, f"its format is version {version[0]}.{version[1]} of .npy"
        )
    shape, fortran, dtype = _HEADERS[version](stream)
    offset = stream.tell()
    need(min(shape, default=0) >= 0, f"an array cannot have the shape {shape}")
    if dtype.hasobject:
        return StoredArray(shape, dtype, offset, "it holds Python objects")
    last, expected = (
        offset + math.prod(shape) * dtype.itemsize,
        f"{math.prod(shape)} values of {dtype} are expected",
    )
    need(last <= end, f"{expected}, and the file ends before them")
    need(last == end or not whole, f"{expected}, and there are more bytes")
    by_columns = fortran and len(shape) > 1
    obstacle = "its rows do not lie one after the other (Fortran order)" if by_columns else ""
    return StoredArray(shape, dtype, offset, obstacle)
