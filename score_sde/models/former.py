"""The argument ``label`` of version 0.1, deprecated: this version warns, the next drops
it.
"""

import warnings
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from score_sde import checks
from score_sde.models.conditions import ClassLabel, Condition
from score_sde.precision import whole


def former_label(kind: Condition | None, label: Any, condition: Any) -> tuple[Array, Array | None]:
    """``(condition, present)`` for ``label=`` of 0.1, where a label out of range was
    absent.

    Raises:
        ValueError: there is a ``condition`` too.
    """
    checks.require(
        condition is None, "label= is the former name of condition=: give condition= alone"
    )
    _warn("label= is now condition=, and present=False says that it is absent")
    label = whole(label, "label")
    if not isinstance(kind, ClassLabel) or kind.num_classes is None:
        return label, None
    present = (label >= 0) & (label < kind.num_classes)
    return jnp.where(present, label, 0), present


def former_conditional() -> ClassLabel:
    """The condition of ``from_linen(..., conditional=True)`` of 0.1."""
    _warn("conditional=True is now condition=ClassLabel(num_classes=...)")
    return ClassLabel(num_classes=None)


def warn_of_module(name: str) -> None:
    """Warn of a conditional module with an argument ``label``."""
    _warn(f"the argument 'label' of {name} is now called 'condition'", level=5)


def _warn(text: str, level: int = 4) -> None:
    # The level shows the user's line, which has called a function of `base`.
    warnings.warn(text, DeprecationWarning, stacklevel=level)
