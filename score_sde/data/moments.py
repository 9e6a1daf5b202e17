"""The mean and standard deviation of continuous data, by which they are standardised."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int

from score_sde.data.examples import Examples

_VALUES = 2**21  # read at a time: 16 MiB in float64
# the largest spacing of float32 values, in standard deviations, that standardised data
# may have
_RESOLUTION = 0.01


class Statistics(NamedTuple):
    """Of each channel, in float64. A channel is an index of the last axis of an
    example: a coordinate of a vector.
    """

    mean: Float64[np.ndarray, " channels"]
    std: Float64[np.ndarray, " channels"]
    low: Float64[np.ndarray, " channels"]
    high: Float64[np.ndarray, " channels"]


def statistics(examples: Examples, *, max_examples: int | None = None) -> Statistics:
    """Mean, standard deviation (of the population), minimum and maximum of each
    channel, in one pass.

    Float64 moments of blocks of examples are merged by the update of Chan, Golub and
    LeVeque (1983), which does not cancel where the mean is large. The blocks depend on
    the shape of the data alone, so that data in files have the same statistics, to the
    bit, as the same data in memory.

    Args:
        examples: ``[n, *shape]``; no more than one block of them is in memory at a
            time.
        max_examples: take this many, evenly spaced, where there are more; None for all.

    Raises:
        ValueError, OSError: where an example cannot be read, or is not finite.
    """
    total, channels = len(examples), examples.shape[-1] if len(examples.shape) > 1 else 1
    rows = max(1, _VALUES // int(np.prod(examples.shape[1:])))
    chosen = _evenly_spaced(total, total if max_examples is None else min(total, max_examples))
    count, mean, squares = 0, np.zeros(channels), np.zeros(channels)
    low, high = np.full(channels, np.inf), np.full(channels, -np.inf)
    for start in range(0, len(chosen), rows):
        block = np.asarray(examples[chosen[start : start + rows]], np.float64).reshape(-1, channels)
        centre = block.mean(axis=0)
        offset, merged = centre - mean, count + len(block)
        mean = mean + offset * (len(block) / merged)
        squares += np.square(block - centre).sum(axis=0) + np.square(offset) * (
            count * len(block) / merged
        )
        low, high = np.minimum(low, block.min(axis=0)), np.maximum(high, block.max(axis=0))
        count = merged
    return Statistics(mean, np.sqrt(squares / count), low, high)


def standardization(examples: Examples) -> dict[str, list[float]]:
    """The ``mean`` and ``std`` that make continuous data have mean 0 and variance 1 in
    each channel.

    Both are rounded to float32, in which they are used: data standardised by them are
    as exact as their own float32 values, and their statistics do not depend on the
    order of summation.

    Raises:
        ValueError: in one line, where a channel is constant, or float32 has too few
            values within one standard deviation of it; where an example is not finite.
    """
    found = statistics(examples)
    kind = "column" if len(examples.shape) < 3 else "channel"
    for channel, (mean, std, low, high) in enumerate(zip(*found, strict=True)):
        name = f"{kind} {channel} of the training data"
        if low == high:
            raise ValueError(
                f"standardize: {name} is constant in float32 ({low:g}): leave it out, or rescale it"
            )
        spacing = max(np.spacing(np.float32(abs(mean))), np.finfo(np.float32).tiny)
        if spacing > _RESOLUTION * std:
            raise ValueError(
                f"standardize: {name} has mean {mean:g} and standard deviation {std:g}, too small "
                "for float32, whose "
                f"values there are {spacing:g} apart: subtract an offset in float64, or rescale, "
                "before it is saved"
            )
        if not max(abs(low), abs(high), 2.0 * std) < 0.1 * np.finfo(np.float32).max:
            raise ValueError(
                f"standardize: {name} reaches {max(-low, high):g}, too large for float32: rescale "
                "it"
            )
    return {
        name: np.float32(values).astype(float).tolist()
        for name, values in zip(("mean", "std"), found, strict=False)
    }


def _evenly_spaced(total: int, count: int) -> Int[np.ndarray, " count"]:
    return np.arange(count) * total // count
