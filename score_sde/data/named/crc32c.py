"""CRC-32C (Castagnoli), the checksum of TFRecords, in NumPy: an image of 256 × 256
takes three milliseconds.
"""

from functools import cache

import numpy as np
from jaxtyping import UInt32

_POLYNOMIAL = 0x82F63B78  # reflected
_START = b"\x54\x64\x1f\x64"  # bytes that take the register from 0 to the initial value 0xFFFFFFFF
_FEW = 64


def crc32c(data: bytes | memoryview) -> int:
    """Return the checksum of RFC 3720, section 12.1.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    return (_of_few(data) if len(data) < _FEW else _of_many(data)) ^ 0xFFFFFFFF


def masked_crc32c(data: bytes | memoryview) -> int:
    """Return the checksum that TFRecords store: rotated right by 15 bits, plus ``0xA282EAD8``."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _of_few(data: bytes | memoryview) -> int:
    table, register = _few_table(), 0xFFFFFFFF
    for byte in data:
        register = table[(register ^ byte) & 0xFF] ^ register >> 8
    return register


def _of_many(data: bytes | memoryview) -> int:
    """The register after all bytes, by halving.

    The register is linear in the bytes, and leading zeros do not change it. So the
    register of two blocks is the xor of two registers: of the first block, advanced by
    the length of the second, and of the second. Pairs of blocks of equal length are
    joined in one operation, level by level.
    """
    stored = np.concatenate([np.frombuffer(_START, np.uint8), np.frombuffer(data, np.uint8)])
    stored = stored if not len(stored) % 2 else np.concatenate([np.zeros(1, np.uint8), stored])
    registers, length = _pair_table().take(stored.view("<u2")), 2
    while len(registers) > 1:
        if len(registers) % 2:
            registers = np.concatenate([np.zeros(1, np.uint32), registers])
        low, high = _moves(length)
        first, second = registers[0::2], registers[1::2]
        registers = low.take(first & 0xFFFF) ^ high.take(first >> 16) ^ second
        length *= 2
    return int(registers[0])


@cache
def _few_table() -> tuple[int, ...]:
    return tuple(_table().tolist())


@cache
def _table() -> UInt32[np.ndarray, "256"]:
    """The register after one byte."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(_POLYNOMIAL), table >> 1)
    return table


@cache
def _pair_table() -> UInt32[np.ndarray, "65536"]:
    """The register after two bytes, by the number that has the first as its lower byte."""
    pairs = np.arange(65536, dtype=np.uint32)
    after_first = _table()[pairs & 0xFF]
    return _table()[(after_first ^ pairs >> 8) & 0xFF] ^ after_first >> 8


@cache
def _moves(length: int) -> tuple[UInt32[np.ndarray, "65536"], UInt32[np.ndarray, "65536"]]:
    """Tables of the register after ``length`` more zero bytes, by the lower and by the
    upper half of the register before them.
    """
    if length == 1:
        halves = np.arange(65536, dtype=np.uint32)
        return tuple(_table()[half & 0xFF] ^ half >> 8 for half in (halves, halves << 16))  # type: ignore[return-value]
    low, high = _moves(length // 2)
    return tuple(low[half & 0xFFFF] ^ high[half >> 16] for half in (low, high))  # type: ignore[return-value]
