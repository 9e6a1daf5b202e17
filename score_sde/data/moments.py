"""The mean and standard deviation of each channel, for standardisation."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int

from score_sde.checks import require
from score_sde.data.examples import Examples

# the number of values read at a time: 16 MiB in float64
_VALUES = 2**21
# the largest spacing of float32 values that standardised data may have, in units of their
# standard deviation
_RESOLUTION = 0.01


class Statistics(NamedTuple):
    """Mean, standard deviation, minimum and maximum of each channel, in float64.

    A channel is an index of the last axis of an example: a coordinate of a vector, a
    colour of an image.
    """

    mean: Float64[np.ndarray, " channels"]
    std: Float64[np.ndarray, " channels"]
    low: Float64[np.ndarray, " channels"]
    high: Float64[np.ndarray, " channels"]


def statistics(examples: Examples, *, max_examples: int | None = None) -> Statistics:
    """Mean, standard deviation (of the population), minimum and maximum of each
    channel, in one pass.

    Float64 moments of blocks of examples are merged by the update of Chan et al. 1983,
    which does not cancel where the mean is large. The blocks depend on the shape of the
    data alone, so that data in files and in memory have the same statistics, to the bit.

    >>> found = statistics(np.array([[1.0], [3.0]], np.float32))
    >>> float(found.mean[0]), float(found.std[0])
    (2.0, 1.0)

    Args:
        examples: ``[n, *shape]``; no more than one block of them is in memory at a
            time.
        max_examples: where there are more, take this many, evenly spaced; None for all.

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
    """The ``mean`` and ``std`` of each channel, by which `Scaling` standardises data.

    Both are rounded to float32, in which they are used: data standardised by them are
    as exact as their own float32 values, and the result does not depend on the order of
    summation.

    >>> standardization(np.array([[1.0], [3.0]], np.float32))
    {'mean': [2.0], 'std': [1.0]}

    Raises:
        ValueError: where a channel is constant or too large for float32, float32 has too
            few values within one standard deviation of its mean, or an example is not
            finite.
    """
    found = statistics(examples)
    kind = "column" if len(examples.shape) < 3 else "channel"
    for channel, (mean, std, low, high) in enumerate(zip(*found, strict=True)):
        name = f"{kind} {channel} of the training data"
        require(
            low != high,
            f"standardize: {name} is constant in float32 ({low:g}): remove or rescale it",
        )
        spacing = max(np.spacing(np.float32(abs(mean))), np.finfo(np.float32).tiny)
        require(
            spacing <= _RESOLUTION * std,
            f"standardize: {name} has mean {mean:g} and standard deviation {std:g}, too small "
            f"for float32, whose values there are {spacing:g} apart: subtract an offset in "
            "float64, or rescale, before saving it",
        )
        require(
            max(abs(low), abs(high), 2.0 * std) < 0.1 * np.finfo(np.float32).max,
            f"standardize: {name} reaches {max(-low, high):g}, too large for float32: rescale it",
        )
    return {
        name: np.float32(values).astype(float).tolist()
        for name, values in zip(("mean", "std"), found, strict=False)
    }


def _evenly_spaced(total: int, count: int) -> Int[np.ndarray, " count"]:
    return np.arange(count) * total // count
