"""Checks of the keyword arguments that build a network; each failure is one line that
says what would be right.
"""

from collections.abc import Iterable, Sequence

DTYPES = ("float32", "bfloat16", "float16", "float64")
"""The compute types a network may be built with, by name."""


def one_of(name: str, value: str, choices: Iterable[str]) -> str:
    """Return ``value`` if it is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    return value


def at_least(name: str, value: int, least: int) -> int:
    """Return ``value`` if it is a whole number, ``least`` or more."""
    if isinstance(value, bool) or value != int(value) or value < least:
        raise ValueError(f"{name} must be a whole number of {least} or more, got {value!r}")
    return int(value)


def at_least_or_none(name: str, value: int | None, least: int) -> int | None:
    """Return ``value`` if it is None, or a whole number, ``least`` or more."""
    return None if value is None else at_least(name, value, least)


def even(name: str, value: int, least: int) -> int:
    """Return ``value`` if it is an even whole number, ``least`` or more."""
    if at_least(name, value, least) % 2:
        raise ValueError(f"{name} must be even, got {value!r}")
    return int(value)


def positive(name: str, value: float) -> float:
    """Return ``value`` if it is finite and greater than 0."""
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} must be a finite number greater than 0, got {value!r}")
    return float(value)


def all_at_least(name: str, values: Sequence[int], least: int) -> tuple[int, ...]:
    """Return ``values`` as a tuple, if there is at least one and each is a whole
    number, ``least`` or more.
    """
    if not values:
        raise ValueError(f"{name} must have at least one number, got {values!r}")
    return tuple(at_least(f"each number of {name}", value, least) for value in values)


def each_at_least(name: str, values: Iterable[int], least: int) -> tuple[int, ...]:
    """Return ``values`` as a tuple, if each is a whole number, ``least`` or more; there
    may be none.
    """
    return tuple(at_least(name, value, least) for value in values)


def rate(name: str, value: float) -> float:
    """Return ``value`` if it is in [0, 1)."""
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be at least 0 and less than 1, got {value!r}")
    return float(value)


def not_negative(name: str, value: float) -> float:
    """Return ``value`` if it is finite and not negative."""
    if not 0 <= value < float("inf"):
        raise ValueError(f"{name} must be a finite number of 0 or more, got {value!r}")
    return float(value)


def less(name: str, value: float, limit: float) -> float:
    """Return ``value`` if it is less than ``limit``."""
    if not value < limit:
        raise ValueError(f"{name} must be less than {limit:g}, got {value!r}")
    return float(value)


def fir_kernel(name: str, values: Sequence[int | float]) -> tuple[float, ...]:
    """Return ``values`` as a tuple, if they are an even number of 4 weights or more, of
    a sum greater than 0.
    """
    if len(values) < 4 or len(values) % 2 or not sum(values) > 0:
        raise ValueError(
            f"{name} must be an even number of 4 weights or more, of a positive sum, got {values!r}"
        )
    return tuple(float(value) for value in values)


def image(network: str, shape: Sequence[int], *, levels: int, key: str) -> tuple[int, ...]:
    """Return ``shape`` as a tuple, if it is that of an image that can be halved
    ``levels - 1`` times.
    """
    size = all_at_least("shape", shape, 1)
    if len(size) != 3:
        raise ValueError(
            f"{network} takes images of shape (height, width, channels), got data of shape {size}; "
            "an MLP takes vectors"
        )
    factor = 2 ** (levels - 1)
    if size[0] % factor or size[1] % factor:
        raise ValueError(
            f"{network} of {levels} levels ({key}) takes heights and widths divisible by {factor}, "
            f"got {size[0]} x {size[1]}"
        )
    return size
