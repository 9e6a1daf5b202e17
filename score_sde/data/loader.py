"""Batches as a pure function of (seed, step)."""

import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, Int, PyTree, Shaped

from score_sde.checks import at_least, require
from score_sde.data.examples import Examples, is_array
from score_sde.data.sound_rows import RowsRead, read_sound
from score_sde.data.source import check_seed, permutation


class Example(NamedTuple):
    """One example, or several along a first axis, before any scaling.

    ``x``: levels or float32 vectors, as they are stored. ``condition``: the condition of
    a network (a class label, a vector, an image, a pytree of these), or None.
    """

    x: Shaped[Array, "*shape"]
    condition: Any = None


class Batch(NamedTuple):
    """A batch as it leaves the loader, before any scaling.

    ``x``: examples as they are stored, ``[b, *shape]``. ``index``: the position of each
    row in the global batch, int32 ``0 .. b - 1``, which is folded into the random key of
    the row. ``condition``: the condition of each row, where the network takes one.
    """

    x: Shaped[Array | np.ndarray, "b *shape"]
    index: Int[Array | np.ndarray, " b"]  # pyright: ignore[reportIncompatibleMethodOverride]
    condition: PyTree[Shaped[Array | np.ndarray, "b ..."]] | None = None

    @property
    def examples(self) -> Example:
        """The rows without their positions."""
        return Example(cast("Array", self.x), self.condition)


@runtime_checkable
class BatchLoader(Protocol):
    """The interface of loaders in training; batches depend on the step alone."""

    @property
    def batch_size(self) -> int:
        """The rows of a batch."""
        ...

    def batch(self, step: int, part: slice = ...) -> Batch:
        """The batch of a step, counted from 0, or a part of its rows."""
        ...

    def close(self) -> None:
        """End the threads that read ahead, if there are any. Call it once at the end."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Loader:
    """A loader without state: the batch of a step depends on ``(seed, step)`` alone.

    Example number ``k = step * batch_size + i`` of the run is row ``k % n`` of the
    permutation of epoch ``k // n``, so that each epoch has each of the ``n`` examples
    once. A batch may span several epochs, and be larger than the data set.

    >>> import numpy as np
    >>> loader = Loader(array=np.arange(3), batch_size=2)
    >>> sorted(np.concatenate([loader.batch(step).x for step in range(3)]).tolist())
    [0, 0, 1, 1, 2, 2]

    Attributes:
        array: examples, ``[n, *shape]``: an array, or examples in files, which are read
            for each batch.
        batch_size: rows of a batch.
        seed: seed of the permutations.
        conditions: the condition of each example, a pytree of arrays ``[n, ...]``, or
            None.
        skip_damaged: whether a damaged example in a file is replaced by the next sound
            one; else it is an error.

    Raises:
        ValueError: where ``array`` has no rows, ``batch_size`` is not positive,
            ``seed`` is negative, or there are not as many conditions as examples.
    """

    array: Examples
    batch_size: int
    seed: int = 0
    conditions: Any = None
    skip_damaged: bool = False

    def __post_init__(self) -> None:
        is_empty = len(self.array.shape) == 0 or len(self.array) == 0
        require(not is_empty, "a loader needs at least one example, found none")
        at_least(1, batch_size=self.batch_size)
        for values in jax.tree.leaves(self.conditions):
            require(
                len(values) == len(self.array),
                f"a loader needs a condition for each of {len(self.array)} examples, got "
                f"{len(values)}",
            )
        check_seed(self.seed)

    def batch(self, step: int, part: slice = slice(None)) -> Batch:
        """The batch of a step, counted from 0; with ``part``, the rows of one process.

        Raises:
            ValueError: where ``step`` is negative.
        """
        found = self.read(self.rows(step)[part])
        return Batch(
            x=found.x,
            index=np.arange(self.batch_size, dtype=np.int32)[part],
            condition=self.conditions_of(found.rows),
        )

    def read(self, rows: Int[np.ndarray, " b"]) -> RowsRead:
        """The examples of some rows of ``array``."""
        if self.skip_damaged and not is_array(self.array):
            return read_sound(self.array, rows)
        return RowsRead(self.array[rows], rows)

    def conditions_of(self, rows: Int[np.ndarray, " b"]) -> Any:
        """The conditions of some rows of ``array``, or None."""
        return jax.tree.map(lambda values: values[rows], self.conditions)

    def close(self) -> None:
        """Do nothing: only a loader that reads ahead has threads to end."""

    def rows(self, step: int) -> Int[np.ndarray, " b"]:
        """The rows of ``array`` in the batch of a step."""
        at_least(0, step=step)
        num_examples = len(self.array)
        epoch, start = divmod(step * self.batch_size, num_examples)
        parts, missing = [], self.batch_size
        while missing:
            parts.append(_epoch_order(num_examples, self.seed, epoch)[start : start + missing])
            missing -= len(parts[-1])
            epoch, start = epoch + 1, 0
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


# Of the threads that reach a new epoch together, one computes its order.
_ONE_AT_A_TIME = threading.Lock()


def _epoch_order(num_examples: int, seed: int, epoch: int) -> Int[np.ndarray, " n"]:
    with _ONE_AT_A_TIME:
        return _order_made_once(num_examples, seed, epoch)


@lru_cache(maxsize=4)
def _order_made_once(num_examples: int, seed: int, epoch: int) -> Int[np.ndarray, " n"]:
    order = permutation(num_examples, seed=seed, epoch=epoch)
    order.flags.writeable = False  # shared by every caller of the cache
    return order
