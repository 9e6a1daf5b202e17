"""TFRecords of images as StyleGAN writes them, read without TensorFlow."""

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from score_sde.checks import require
from score_sde.data.named.crc32c import masked_crc32c
from score_sde.runtime.damage import need, need_format, reading

# the length of a record and its checksum; the record and its checksum follow
_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_INT64_LIST, _BYTES_LIST = 3, 1


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordFile:
    """A file of records, each found by its offset and read on access.

    Attributes:
        path: the file.
        offsets: the offset of each record in the file, after its header.
        lengths: the number of bytes of each record.
    """

    path: Path
    offsets: Int64[np.ndarray, " n"]
    lengths: Int64[np.ndarray, " n"]

    @classmethod
    def of(cls, path: Path) -> "RecordFile":
        """Read the headers of a file, and skip its records.

        Raises:
            FileError: where it is cut off or a header does not have its checksum.
        """
        offsets, lengths, size, offset = array("q"), array("q"), path.stat().st_size, 0
        with reading(path), path.open("rb", buffering=0) as stream:
            while offset < size:
                cut_off = f"record {len(offsets)} is cut off"
                header = stream.read(_HEADER.size)
                need(len(header) == _HEADER.size, cut_off)
                length, checksum = _HEADER.unpack(header)
                need(
                    masked_crc32c(header[:8]) == checksum,
                    f"the length of record {len(offsets)} has another checksum",
                )
                need(offset + _HEADER.size + length + _FOOTER.size <= size, cut_off)
                offsets.append(offset + _HEADER.size)
                lengths.append(length)
                offset += _HEADER.size + length + _FOOTER.size
                stream.seek(offset)
            need(offsets, "it is empty")
        return cls(
            path=path, offsets=np.array(offsets, np.int64), lengths=np.array(lengths, np.int64)
        )

    def __len__(self) -> int:
        return len(self.offsets)

    def name(self, row: int) -> str:
        """The name of a record in messages."""
        return f"{self.path}: record {row}"

    def image(self, row: int) -> UInt8[np.ndarray, "h w c"]:
        """The image of a record, from its features ``shape`` (channels, height, width) and
        ``data`` (bytes).

        Raises:
            FileError: where the record does not have its checksum, or has no such image.
        """
        length = int(self.lengths[row])
        with self.path.open("rb", buffering=0) as stream:
            stream.seek(int(self.offsets[row]))
            stored = memoryview(stream.read(length + _FOOTER.size))
        with reading(self.name(row), "has no features shape and data of an image"):
            is_whole = len(stored) == length + _FOOTER.size
            intact = is_whole and _FOOTER.unpack(stored[length:]) == (
                masked_crc32c(stored[:length]),
            )
            need(intact, "it has another checksum")
            shape, data = _image_features(stored[:length])
            need_format(
                len(shape) == 3 and min(shape) >= 1 and len(data) == shape[0] * shape[1] * shape[2],
                f"it has {len(data)} bytes of data for an image of shape {tuple(shape)}",
            )
        return np.frombuffer(data, np.uint8).reshape(shape).transpose(1, 2, 0)


def _image_features(record: memoryview) -> tuple[list[int], memoryview]:
    """The features of an ``Example``: a message with a map (field 1) from names (1) to
    features (2).
    """
    features: dict[bytes, memoryview] = {}
    for map_of_features in _messages(record, 1):
        for entry in _messages(map_of_features, 1):
            features[bytes(_messages(entry, 1)[0])] = _messages(entry, 2)[0]
    numbers = (
        number for part in _messages(features[b"shape"], _INT64_LIST) for number in _integers(part)
    )
    shape = list(islice(numbers, 4))  # a fourth would be one too many
    return shape, _messages(_messages(features[b"data"], _BYTES_LIST)[0], 1)[0]


def _messages(message: memoryview, wanted: int) -> list[memoryview]:
    """The values with a length of a field: messages, strings, bytes."""
    return [
        value
        for field, value in _fields(message)
        if field == wanted and isinstance(value, memoryview)
    ]


def _integers(message: memoryview) -> Iterator[int]:
    """The values of field 1, packed or not."""
    for field, value in _fields(message):
        if field == 1 and isinstance(value, int):
            yield value
        elif field == 1 and isinstance(value, memoryview):
            place = 0
            while place < len(value):
                number, place = _varint(value, place)
                yield number


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a message of protocol buffers, each with its number."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        field, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, place = _varint(message, place)
            yield field, value
            continue
        if kind == _BYTES:
            length, place = _varint(message, place)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"no field is of kind {kind}")
        require(place + length <= len(message), "a field is longer than its message")
        yield field, message[place : place + length]
        place += length


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """The number at a place, seven bits a byte and the lowest first, and the place after it."""
    number = 0
    for shift in range(0, 70, 7):
        byte = message[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
    raise ValueError("a number is longer than 64 bits")
