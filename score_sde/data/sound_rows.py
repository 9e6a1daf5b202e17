"""Examples in files of which some are damaged: each is replaced by the next sound one."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

from score_sde.data.examples import Examples, example
from score_sde.runtime.unreadable import is_of_system

MOST_IN_A_ROW = 1000
"""So many damaged examples in a row are an error: hardly anything can be read any more."""


class RowsRead(NamedTuple):
    """Examples that were read.

    Attributes:
        x: the examples, ``[b, *shape]``.
        rows: the row of each.
        damaged: a line about each damaged example that was replaced.
    """

    x: Shaped[np.ndarray, "b *shape"]
    rows: Int[np.ndarray, " b"]
    damaged: tuple[str, ...] = ()


def read_sound(examples: Examples, rows: Int[np.ndarray, " b"]) -> RowsRead:
    """Read examples; in place of a damaged one, the next sound one in the order of rows.

    The replacement depends on the row alone, so that a batch is the same whichever
    process or thread reads it, and in a run that resumes.

    Raises:
        OSError: where the system, not the bytes, is the cause: such an example may be
            sound.
        ValueError: where `MOST_IN_A_ROW` examples in a row, or all, are damaged.
    """
    x = np.empty((len(rows), *examples.shape[1:]), examples.dtype)
    found = np.array(rows)
    damaged: list[str] = []
    for place, row in enumerate(rows):
        reasons: list[str] = []
        while True:
            found[place] = (int(row) + len(reasons)) % len(examples)
            try:
                x[place] = example(examples, int(found[place]))
                break
            except (ValueError, OSError) as error:
                if not is_damage(error):
                    raise
                reasons.append(" ".join(str(error).split()))
                count = len(reasons)
                if count >= min(len(examples), MOST_IN_A_ROW):
                    raise ValueError(f"{count} damaged examples in a row: {reasons[-1]}") from error
        damaged += reasons
    return RowsRead(x, found, tuple(damaged))


def is_damage(error: BaseException) -> bool:
    """Whether an error in reading an example is about its bytes, not about the system."""
    return isinstance(error, (ValueError, OSError)) and not is_of_system(error)


def joined(parts: Sequence[RowsRead]) -> RowsRead:
    """Parts of a batch, one after the other."""
    return RowsRead(
        np.concatenate([part.x for part in parts]),
        np.concatenate([part.rows for part in parts]),
        tuple(line for part in parts for line in part.damaged),
    )
