"""Checks of the arguments that several networks share, on top of `score_sde.checks`."""

from collections.abc import Sequence
from typing import Any

from score_sde import checks

DTYPES = ("float32", "bfloat16", "float16", "float64")
"""The types in which a network may compute, by name."""


def even(least: int, /, **values: Any) -> None:
    """Each value is an even whole number, ``least`` or more."""
    checks.whole(least, **values)
    for name, value in values.items():
        if value % 2:
            checks.fail(name, value, "even")


def rate(**values: Any) -> None:
    """Each value, such as a rate of dropout, is in [0, 1)."""
    for name, value in values.items():
        if not 0 <= value < 1:
            checks.fail(name, value, "at least 0 and less than 1")


def each_whole(least: int, /, **values: Sequence[int]) -> None:
    """Each number of each sequence is whole, ``least`` or more."""
    for name, numbers in values.items():
        entries: dict[str, Any] = {f"{name}[{i}]": number for i, number in enumerate(numbers)}
        checks.whole(least, **entries)


def not_empty(**values: Sequence[int]) -> None:
    """Each sequence has a first number."""
    for name, numbers in values.items():
        checks.require(numbers, f"{name}={numbers} must have at least one number")


def fir_kernel(kernel: Sequence[int | float]) -> tuple[float, ...]:
    """The weights of a filter that resamples by two.

    Raises:
        ValueError: unless they are an even number, 4 or more, of a positive sum.
    """
    if len(kernel) < 4 or len(kernel) % 2 or not sum(kernel) > 0:
        right = "an even number of weights, 4 or more, of a positive sum"
        checks.fail("fir_kernel", tuple(kernel), right)
    return tuple(map(float, kernel))


def image_shape(
    network: str, shape: Sequence[int], *, divisor: int = 1, levels: str = ""
) -> tuple[int, ...]:
    """The shape ``(height, width, channels)`` of the images that a network takes.

    Args:
        network: the name of the network in messages.
        shape: the shape of one example.
        divisor: of height and width.
        levels: where the divisor comes from.

    Raises:
        ValueError: unless this is the shape of an image, of a divisible size.
    """
    size = example_shape(shape)
    checks.require(
        len(size) == 3,
        f"{network} takes images of shape (height, width, channels), got data of shape {size}; an "
        "MLP takes vectors",
    )
    checks.require(
        size[0] % divisor == size[1] % divisor == 0,
        f"{network}{levels} takes heights and widths divisible by {divisor}, got {size[0]} x "
        f"{size[1]}",
    )
    return size


def example_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of one example, of any number of axes but none.

    Raises:
        ValueError: it has no axis, or one without numbers.
    """
    not_empty(shape=shape)
    each_whole(1, shape=shape)
    return tuple(map(int, shape))
