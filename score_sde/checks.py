"""Checks of arguments. Each failure is a ``ValueError`` of one line.

The line reads ``name=value must be …`` and then, after a comma, the reason::

    checks.positive(snr=snr, because="0.16 is the value of Song et al. for CIFAR-10")
    # ValueError: snr=-1 must be positive and finite, 0.16 is the value of ...

Where the argument comes from a config, the name of its section is put before it:
``sampling.snr=-1 must be …``.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn


def require(condition: object, message: str) -> None:
    """Raise ``ValueError(message)`` unless the condition is true.

    For conditions between arguments, and others that have no check of their own here.
    """
    if not condition:
        raise ValueError(message)


def positive(*, because: str = "", **values: Any) -> None:
    """Each value is greater than 0 and finite."""
    for name, value in values.items():
        if not 0 < value < math.inf:
            fail(name, value, "positive and finite", because)


def not_negative(*, because: str = "", **values: Any) -> None:
    """Each value is at least 0 and finite."""
    for name, value in values.items():
        if not 0 <= value < math.inf:
            fail(name, value, "a finite number of at least 0", because)


def at_least(least: float | int, /, *, because: str = "", **values: Any) -> None:
    """Each value is ``least`` or more."""
    for name, value in values.items():
        if not value >= least:
            fail(name, value, f"at least {_limit(least)}", because)


def between(low: float | int, high: float | int, /, *, because: str = "", **values: Any) -> None:
    """Each value is in ``[low, high]``."""
    for name, value in values.items():
        if not low <= value <= high:
            fail(name, value, f"from {_limit(low)} to {_limit(high)}", because)


def whole(least: int, /, *, because: str = "", **values: Any) -> None:
    """Each value is a whole number, ``least`` or more, and no Boolean."""
    for name, value in values.items():
        if isinstance(value, bool) or not math.isfinite(value) or value != int(value):
            fail(name, value, "a whole number", because)
        at_least(least, because=because, **{name: value})


def one_of(choices: Iterable[Any], /, *, because: str = "", **values: Any) -> None:
    """Each value is one of the choices."""
    choices = tuple(choices)
    for name, value in values.items():
        if value not in choices:
            fail(name, value, f"one of {', '.join(map(str, choices))}", because)


def increasing(*, because: str = "", **values: Any) -> None:
    """Each value is less than the next: ``increasing(t_min=0.1, t_max=1.0)``."""
    for low, high in itertools.pairwise(values):
        if not values[low] < values[high]:
            fail(low, values[low], f"less than {high}={_text(values[high])}", because)


def same_shape(name: str, shape: Sequence[int], expected: Sequence[int], what: str) -> None:
    """``shape``, of the argument ``name``, is the ``expected`` one, of ``what``."""
    if tuple(shape) != tuple(expected):
        raise ValueError(
            f"{name} has shape {tuple(shape)} and must have {tuple(expected)}, the shape of {what}"
        )


def fail(name: str, value: Any, right: str, because: str = "") -> NoReturn:
    """Raise ``ValueError("name=value must be right, because")``."""
    reason = f", {because}" if because else ""
    raise ValueError(f"{name}={_text(value)} must be {right}{reason}")


def _text(value: Any) -> str:
    """The value for a message, in at most 200 characters; numbers without their type."""
    return f"{value!r:.200}" if isinstance(value, str) else f"{value!s:.200}"


def _limit(value: float | int) -> str:
    """A limit for a message: whole numbers in full, others to six digits."""
    return str(value) if isinstance(value, int) else f"{value:g}"
