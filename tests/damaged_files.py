"""Damaged copies of a file, and the property of every reader: a value or one line."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np


def damaged(
    whole: bytes, count: int, reaches: tuple[int, ...] = (), *, seed: int = 0
) -> Iterator[bytes]:
    """Seeded damage, in turn: a flipped bit, removed bytes, overwritten bytes, a lost end.

    ``reaches``: the damage begins among so many bytes, each in turn; by default all.
    """
    rng, reaches = np.random.default_rng(seed), reaches or (len(whole),)
    for case in range(count):
        data = bytearray(whole)
        place = int(rng.integers(min(reaches[case % len(reaches)], len(data))))
        if case % 4 == 0:
            data[place] ^= 1 << int(rng.integers(8))
        elif case % 4 == 1:
            del data[place : place + int(rng.integers(1, 64))]
        elif case % 4 == 2:
            data[place : place + 8] = rng.bytes(8)
        else:
            del data[place:]
        yield bytes(data)


def num_refused(
    path: Path,
    read: Callable[[], Any],
    *,
    count: int,
    reaches: tuple[int, ...] = (),
    name: str = "",
    errors: tuple[type[Exception], ...] = (ValueError,),
    check: Callable[[Any], None] = lambda found: None,
) -> int:
    """The number of damaged copies at ``path`` that ``read`` does not read.

    Each must raise one of ``errors`` with one line that has ``name``, by default the
    path; ``check`` sees the values that were read.
    """
    refused = 0
    for data in damaged(path.read_bytes(), count, reaches):
        path.write_bytes(data)
        try:
            found = read()
        except errors as error:
            refused += 1
            assert "\n" not in str(error) and (name or str(path)) in str(error), str(error)
        else:
            check(found)
    return refused
