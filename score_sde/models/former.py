"""What version 0.1 called a label, which works with a warning in this version alone."""

import warnings
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from score_sde.models.conditions import ClassLabel, Condition
from score_sde.precision import whole


def former_label(kind: Condition | None, label: Any, condition: Any) -> tuple[Array, Array | None]:
    """``(condition, present)`` for ``label=`` of 0.1, where a label out of range meant none.

    Raises:
        ValueError: there is a ``condition`` beside it.
    """
    if condition is not None:
        raise ValueError("label= is the former name of condition=: give condition= alone")
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
    """Warn of a conditional module whose argument is still ``label``."""
    _warn(f"the argument 'label' of {name} is now called 'condition'", level=5)


def _warn(text: str, level: int = 4) -> None:
    # The level names the line of the user, who has called a function of the base.
    warnings.warn(text, DeprecationWarning, stacklevel=level)
