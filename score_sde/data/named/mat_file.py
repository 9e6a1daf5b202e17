"""Arrays of numbers in MATLAB's files of level 5 (MAT-File Format, The MathWorks), and
nothing else.

The sizes that a file states are checked against its own size before memory is
allocated; SciPy does not check them.
"""

import struct
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from score_sde.runtime.bounded_reading import check_unfolded
from score_sde.runtime.damage import WrongBytesError, need, need_format, reading

_HEADER, _MATRIX, _COMPRESSED = 128, 14, 15
_TYPES = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
"""The types in which numbers are stored, by their codes there."""

_CLASSES = {
    6: "f8",
    7: "f4",
    8: "i1",
    9: "u1",
    10: "i2",
    11: "u2",
    12: "i4",
    13: "u4",
    14: "i8",
    15: "u8",
}
"""The types of arrays, by the codes of their classes; other classes are texts, cells,
structures, objects.
"""

_COMPLEX = 0x0800
_NAMES = 4096
"""More bytes than the flags, the axes and the name of an array take."""


class _Element(NamedTuple):
    """A part of a file: the code of its type, and its bytes."""

    kind: int
    data: memoryview


def read_mat(path: Path, wanted: Collection[str]) -> dict[str, np.ndarray]:
    """The ``wanted`` arrays of a file by their names; others are skipped.

    Raises:
        FileError: where the file is damaged, of another level, or such an array does not
            hold real numbers.
        OSError: where it cannot be read.
    """
    data = path.read_bytes()
    found: dict[str, np.ndarray] = {}
    with reading(path):
        is_mat = len(data) >= _HEADER and data[126:128] == b"IM"
        need_format(is_mat, "it is no MAT-file of level 5 in little-endian order")
        for element in _elements(memoryview(data)[_HEADER:]):
            found |= _array(element, wanted, len(data))
    return found


def _array(element: _Element, wanted: Collection[str], num_bytes: int) -> dict[str, np.ndarray]:
    """The array of an element by its name; no array where it is not wanted."""
    if element.kind == _COMPRESSED:
        # The head has the name and the size of the array.
        head = memoryview(zlib.decompressobj().decompress(element.data, _NAMES))
        kind, size = struct.unpack_from("<II", head)
        if kind != _MATRIX or _name(list(_elements(head[8:], cut_off=True))) not in wanted:
            return {}
        check_unfolded(size, num_bytes)
        element = next(_elements(memoryview(_unfolded(element.data, size + 8))))
    if element.kind != _MATRIX:
        return {}
    parts = list(_elements(element.data))
    name = _name(parts)
    return {name: _numbers(name, parts)} if name in wanted else {}


def _unfolded(data: memoryview, size: int) -> bytes:
    stream = zlib.decompressobj()
    found = stream.decompress(data, size)
    # Reading on makes zlib check its checksum.
    more = stream.decompress(stream.unconsumed_tail, 1)
    need(not more and stream.eof, "it is cut off, or longer than it says")
    return found


def _name(parts: list[_Element]) -> str:
    return bytes(parts[2].data).decode("ascii")


def _numbers(name: str, parts: list[_Element]) -> np.ndarray:
    (flags,) = struct.unpack_from("<I", parts[0].data)
    is_real = flags & 0xFF in _CLASSES and not flags & _COMPLEX
    need_format(is_real, f"{name} is no array of real numbers")
    shape = tuple(np.frombuffer(parts[1].data, "<i4").tolist())
    values = np.frombuffer(parts[3].data, np.dtype(_TYPES[parts[3].kind]).newbyteorder("<"))
    need(2 <= len(shape) <= 8 and min(shape) >= 0, f"{name} has the shape {shape}")
    return values.astype(_CLASSES[flags & 0xFF], copy=False).reshape(shape, order="F")


def _elements(data: memoryview, *, cut_off: bool = False) -> Iterator[_Element]:
    """The elements one after the other; where the data are ``cut_off``, only the complete ones."""
    place = 0
    while place < len(data):
        tag, size = struct.unpack("<II", bytes(data[place : place + 8]).ljust(8, b"\0"))
        kind, small = tag & 0xFFFF, tag >> 16
        start, size = (place + 4, small) if small else (place + 8, size)
        if start + size > len(data):
            if cut_off:
                return
            raise WrongBytesError("it is cut off")
        yield _Element(kind, data[start : start + size])
        # All but compressed elements end at multiples of eight bytes.
        end = place + 8 if small else start + size
        place = end if kind == _COMPRESSED else -(-end // 8) * 8
