"""Tiny data sets in the forms in which the real ones are distributed."""

import gzip
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from score_sde.data.named.crc32c import masked_crc32c

CIFAR10_FILES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
    """Noise of 8 bits."""
    return np.random.default_rng(seed).integers(256, size=shape).astype(np.uint8)


def write_cifar10(folder: Path, per_file: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """The binary version: images ``[6 * per_file, 32, 32, 3]``, those for the test
    last, and their labels.
    """
    images, labels = pixels(6 * per_file, 32, 32, 3), np.arange(6 * per_file) % 10
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(CIFAR10_FILES):
        rows = range(number * per_file, (number + 1) * per_file)
        records = [bytes([labels[row]]) + images[row].transpose(2, 0, 1).tobytes() for row in rows]
        (folder / name).write_bytes(b"".join(records))
    return images, labels


def write_idx(path: Path, array: np.ndarray) -> None:
    """An IDX file of bytes, compressed where its name says so."""
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    content = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_image(path: Path, image: np.ndarray, **options: object) -> Path:
    """An image of the format that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)
    return path


def varint(number: int) -> bytes:
    """A number as protocol buffers have it."""
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def field(number: int, content: bytes | int) -> bytes:
    """A field of a message: a number, or a message, a string or bytes."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def example(shape: tuple[int, ...], data: bytes, *, packed: bool = True) -> bytes:
    """The record of an image as StyleGAN's."""
    numbers = (
        field(1, b"".join(map(varint, shape)))
        if packed
        else b"".join(field(1, number) for number in shape)
    )
    features = {b"shape": field(3, numbers), b"data": field(1, field(1, data))}
    return field(
        1, b"".join(field(1, field(1, name) + field(2, value)) for name, value in features.items())
    )


def write_records(path: Path, records: list[bytes]) -> Path:
    """A TFRecord file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        for record in records:
            length = struct.pack("<Q", len(record))
            stream.write(length + struct.pack("<I", masked_crc32c(length)))
            stream.write(record + struct.pack("<I", masked_crc32c(record)))
    return path
