"""The records of an LMDB database, as in the archives of LSUN, read by their place in the
file.

LMDB's own library maps the file into memory and trusts it: a file that is damaged or cut
off, or a disk that fails, ends the process. Here each of these is an exception.

The format is LMDB 0.9 on little-endian machines of 64 bits. A page begins with its number
(8 bytes), an unused field, flags, and the ends of its two halves (2 bytes each): the
offsets of its nodes, which grow from the front, and the nodes, which grow from the back.
A node is the low and the high half of a number, flags, and the length of its key (2 bytes
each), the key, and the value. In a branch the number and the flags are the page of a
child; in a leaf the number is the length of the value, and a flag marks a value that lies
on pages of its own.
"""

import os
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

from score_sde.runtime.bounded_reading import allowed
from score_sde.runtime.damage import WrongBytesError, need

_HEADER, _NODE, _META = (
    struct.Struct("<QHHHH"),
    struct.Struct("<HHHH"),
    struct.Struct("<IIQQIHH5QIHH5QQQ"),
)
_MAGIC, _VERSION, _EMPTY = 0xBEEFC0DE, 1, 2**64 - 1
_BRANCH, _LEAF, _OVERFLOW = 1, 2, 4
_SEVERAL_VALUES = 4
_MAX_DEPTH = 32


class _Meta(NamedTuple):
    """The description of the database on one of its first two pages."""

    transaction: int
    page_size: int
    flags: int
    entries: int
    root: int


class Database(NamedTuple):
    """The records of a database, in the order of their keys.

    Attributes:
        path: its file.
        keys: the keys, bytes.
        places: the offset of each value in the file.
        sizes: the number of bytes of each value.
        pages: the page on which each value begins, where it has pages of its own; else
            0.
    """

    path: Path
    keys: np.ndarray
    places: np.ndarray
    sizes: np.ndarray
    pages: np.ndarray

    def read(self, row: int) -> bytes:
        """The value of a record.

        Raises:
            WrongBytesError: where the value is not at its place.
            OSError: where the file cannot be read.
        """
        size, place, page = int(self.sizes[row]), int(self.places[row]), int(self.pages[row])
        head = _HEADER.size if page else 0
        with self.path.open("rb", buffering=0) as stream:
            found = os.pread(stream.fileno(), head + size, place - head)
        need(len(found) == head + size, "the file ends before the value does")
        if page:
            own, _, flags, *_ = _HEADER.unpack_from(found)
            need(own == page and flags == _OVERFLOW, f"page {page} has a wrong header")
        return found[head:]


def open_database(path: Path) -> Database:
    """Find all records of a database.

    Raises:
        WrongBytesError: where it is damaged; without the name of the file.
        OSError: where it cannot be read.
    """
    with path.open("rb", buffering=0) as stream:
        return _Walk(path, stream.fileno()).database()


class _Walk:
    """A walk along the tree of pages from its root, which checks all that it reads."""

    def __init__(self, path: Path, file: int) -> None:
        self._path, self._file, self._end = path, file, os.fstat(file).st_size
        first = self._meta(0, 0)
        is_size = first.page_size in (2**power for power in range(9, 17))
        need(is_size, f"its pages cannot have {first.page_size} bytes")
        # The one that was written last is valid.
        self._meta_page = last = max(first, self._meta(first.page_size, 1))
        need(
            last.page_size == first.page_size and not last.flags & _SEVERAL_VALUES,
            "its keys may have several values, or its pages differ in size",
        )
        self._page_size = first.page_size
        self._seen = bytearray(self._end // self._page_size)

    def database(self) -> Database:
        """All records."""
        keys: list[bytes] = []
        numbers: list[tuple[int, int, int]] = []
        waiting = [] if self._meta_page.root == _EMPTY else [(self._meta_page.root, 0)]
        while waiting:
            number, depth = waiting.pop()
            flags, page, places = self._page(number)
            if flags == _BRANCH and depth < _MAX_DEPTH:
                children = [self._child(page, place) for place in places]
                waiting += [(child, depth + 1) for child in reversed(children)]
            elif flags == _LEAF:
                for place in places:
                    key, value = self._record(number, page, place)
                    keys.append(key)
                    numbers.append(value)
            else:
                raise WrongBytesError(f"page {number} is no page of keys")
        expected = self._meta_page.entries
        need(len(keys) == expected, f"it has {len(keys)} records, and should have {expected}")
        # In an array one long key makes all keys as long.
        needed = max(map(len, keys), default=0) * len(keys)
        need(needed <= allowed(self._end), "its keys take more room than its file")
        places, sizes, pages = np.array(numbers, np.int64).reshape(-1, 3).T
        return Database(self._path, np.array(keys, np.bytes_), places, sizes, pages)

    def _bytes(self, place: int, size: int) -> bytes:
        found = os.pread(self._file, size, place) if place + size <= self._end else b""
        need(len(found) == size, f"the file has {self._end} bytes, and is cut off")
        return found

    def _meta(self, place: int, number: int) -> _Meta:
        found = self._bytes(place, _HEADER.size + _META.size)
        fields = _META.unpack_from(found, _HEADER.size)
        is_meta = _HEADER.unpack_from(found)[0] == number and fields[:2] == (_MAGIC, _VERSION)
        need(is_meta, "it is no database of LMDB")
        return _Meta(fields[21], fields[4], fields[13], fields[18], fields[19])

    def _page(self, number: int) -> tuple[int, bytes, tuple[int, ...]]:
        """The flags, the bytes and the offsets of the nodes of a page of keys that was
        not read before.
        """
        is_new = 1 < number < len(self._seen) and not self._seen[number]
        need(is_new, f"there is no page {number}, or two nodes lead to it")
        self._seen[number] = 1
        page = self._bytes(number * self._page_size, self._page_size)
        own, _, flags, lower, upper = _HEADER.unpack_from(page)
        fits = _HEADER.size <= lower <= upper <= self._page_size and not lower % 2
        need(own == number and fits, f"page {number} has a wrong header")
        places = struct.unpack_from(f"<{(lower - _HEADER.size) // 2}H", page, _HEADER.size)
        fits = all(upper <= place <= self._page_size - _NODE.size for place in places)
        need(fits, f"page {number} has nodes outside of it")
        return flags, page, places

    def _child(self, page: bytes, place: int) -> int:
        low, high, flags, _ = _NODE.unpack_from(page, place)
        return low | high << 16 | flags << 32

    def _record(self, number: int, page: bytes, place: int) -> tuple[bytes, tuple[int, int, int]]:
        """The key of a node of a leaf; and the place, the size and the first page of its value."""
        low, high, flags, length = _NODE.unpack_from(page, place)
        start, size = place + _NODE.size + length, low | high << 16
        if flags > 1 or start + (8 if flags else size) > self._page_size:
            raise WrongBytesError(f"page {number} has a record that does not fit into it")
        key = page[place + _NODE.size : start]
        if not flags:
            return key, (number * self._page_size + start, size, 0)
        (own,) = struct.unpack_from("<Q", page, start)
        value = own * self._page_size + _HEADER.size
        if not 1 < own < len(self._seen) or value + size > self._end:
            raise WrongBytesError(f"the file ends before the value of a record on page {number}")
        return key, (value, size, own)
