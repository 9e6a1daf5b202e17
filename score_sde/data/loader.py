"""Batches as a pure function of (seed, step)."""

import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, Int, PyTree, Shaped

from score_sde.data.examples import Examples
from score_sde.data.source import check_seed, permutation


class Example(NamedTuple):
    """One example, or several along a first axis, before any scaling.

    ``x``: levels or float32 vectors, as they are stored. ``condition``: what a network
    is conditioned on (a class label, a vector, an image, a pytree of these), or None.
    """

    x: Shaped[Array, "*shape"]
    condition: Any = None


class Batch(NamedTuple):
    """A batch as it leaves the loader, before any scaling.

    ``x``: examples as they are stored, ``[b, *shape]``. ``index``: the position of each
    row in the global batch, int32 ``0 .. b - 1``, with which a sample's random key is
    folded. ``condition``: the condition of each row, where the network takes one.
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
    """What training asks of a loader, whose batches depend on the step alone."""

    @property
    def batch_size(self) -> int:
        """The rows of a batch."""
        ...

    def batch(self, step: int, part: slice = ...) -> Batch:
        """The batch of a step, counted from 0, or a part of its rows."""
        ...

    def close(self) -> None:
        """End the threads that read ahead, if there are any."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Loader:
    """A loader without state: the batch of a step depends on ``(seed, step)`` alone, so
    any step can be asked first.

    Example number ``k = step * batch_size + i`` of the run is row ``k % n`` of the
    permutation of epoch ``k // n``, so that each epoch sees each of the ``n`` examples
    once; batches run on across the border of two epochs and may be larger than the data
    set.

    Attributes:
        array: examples, ``[n, *shape]``: an array, or others, which are read when a
            batch is asked for.
        batch_size: rows of a batch.
        seed: seed of the permutations.
        conditions: the condition of each example, a pytree of arrays ``[n, ...]``, for
            batches with conditions.

    Raises:
        ValueError: where ``array`` has no rows, ``batch_size`` is not positive,
            ``seed`` is negative, or there are not as many conditions as examples.
    """

    array: Examples
    batch_size: int
    seed: int = 0
    conditions: Any = None

    def __post_init__(self) -> None:
        _check(self.array, self.batch_size)
        for values in jax.tree.leaves(self.conditions):
            if len(values) != len(self.array):
                raise ValueError(
                    f"a loader needs a condition for each of {len(self.array)} examples, got "
                    f"{len(values)}"
                )
        check_seed(self.seed)

    def batch(self, step: int, part: slice = slice(None)) -> Batch:
        """The batch of a step, counted from 0, or a part of its rows: those of one process.

        Raises:
            ValueError: where ``step`` is negative.
        """
        rows = self.rows(step)[part]
        return Batch(
            x=self.array[rows],
            index=np.arange(self.batch_size, dtype=np.int32)[part],
            condition=self.conditions_of(rows),
        )

    def conditions_of(self, rows: Int[np.ndarray, " b"]) -> Any:
        """The conditions of some rows of ``array``, or None."""
        return jax.tree.map(lambda values: values[rows], self.conditions)

    def close(self) -> None:
        """Nothing is open here; a loader that reads ahead has threads to end."""

    def rows(self, step: int) -> Int[np.ndarray, " b"]:
        """Return which rows of ``array`` make the batch of a step."""
        if step < 0:
            raise ValueError(f"step must not be negative, not {step}")
        num_examples = len(self.array)
        epoch, start = divmod(step * self.batch_size, num_examples)
        pieces, missing = [], self.batch_size
        while missing:
            pieces.append(_epoch_order(num_examples, self.seed, epoch)[start : start + missing])
            missing -= len(pieces[-1])
            epoch, start = epoch + 1, 0
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


_ONE_AT_A_TIME = (
    threading.Lock()
)  # of the threads that come to a new epoch together, one makes its order


def _epoch_order(num_examples: int, seed: int, epoch: int) -> Int[np.ndarray, " n"]:
    with _ONE_AT_A_TIME:
        return _order_made_once(num_examples, seed, epoch)


@lru_cache(maxsize=4)
def _order_made_once(num_examples: int, seed: int, epoch: int) -> Int[np.ndarray, " n"]:
    order = permutation(num_examples, seed=seed, epoch=epoch)
    order.flags.writeable = False  # shared by every caller of the cache
    return order


def _check(array: Examples, batch_size: int) -> None:
    if len(array.shape) == 0 or len(array) == 0:
        raise ValueError("a loader needs at least one example, found none")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
