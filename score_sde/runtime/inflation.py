"""How much a compressed file may unfold to."""

import gzip
import zipfile
from pathlib import Path

MAX_RATIO = 200
"""Bytes that a byte of a compressed file may stand for: zlib reaches a thousand, for
nothing but zeros; data sets of drawn shapes reach a hundred.
"""

ALWAYS = 2**26
"""Bytes that any file may unfold to."""


def allowed(num_bytes: int) -> int:
    """How many bytes a compressed file of ``num_bytes`` may unfold to."""
    return max(ALWAYS, MAX_RATIO * num_bytes)


def check_unfolded(unfolded: int, num_bytes: int) -> None:
    """Refuse data that unfold to more than that.

    Raises:
        ValueError: in one line.
    """
    if unfolded > allowed(num_bytes):
        raise ValueError(
            f"{num_bytes} compressed bytes unfold to {unfolded}, which is more than {MAX_RATIO} "
            "times as many: "
            "if it is to be so, save it without compression"
        )


def unzipped(path: Path) -> bytes:
    """The bytes of a file compressed by gzip.

    Raises:
        ValueError: where they are more than it may unfold to.
        EOFError, OSError, zlib.error: where it is damaged.
    """
    most = allowed(path.stat().st_size)
    with gzip.open(path) as stream:
        found = stream.read(most + 1)
    check_unfolded(len(found), path.stat().st_size)
    return found


def check_member(entry: zipfile.ZipInfo, path: Path) -> None:
    """Refuse a member of an archive that unfolds to more than it may.

    Raises:
        ValueError: in one line.
    """
    check_unfolded(entry.file_size, min(entry.compress_size, path.stat().st_size))
