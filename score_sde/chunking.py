"""A map over leading axes in chunks, which trades memory for time."""

from collections.abc import Callable
from typing import Any

import jax

from score_sde import checks


def map_in_chunks(function: Callable[[Any], Any], items: Any, chunk_size: int | None) -> Any:
    """``function`` of every item along the leading axis, ``chunk_size`` items at a
    time; with None all at once, as ``jax.vmap`` does.

    The results differ by rounding only. The memory is for one chunk, except under
    reverse-mode differentiation, which keeps the intermediate values of all chunks.

    >>> map_in_chunks(lambda number: 2 * number, jax.numpy.arange(5), 2)
    Array([0, 2, 4, 6, 8], dtype=int32)
    """
    size = len(jax.tree.leaves(items)[0])
    if chunk_size is None or chunk_size >= size:
        return jax.vmap(function)(items)
    return jax.lax.map(function, items, batch_size=chunk_size)


def check_chunk_size(chunk_size: int | None) -> None:
    """Raise ``ValueError`` unless a chunk has at least one item; None is all at once."""
    if chunk_size is not None:
        checks.at_least(1, chunk_size=chunk_size, because="or None for all at once")
