"""Calls of modules of any library: the keywords that a condition becomes."""

import inspect
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, PyTree

from score_sde import checks
from score_sde.models.conditions import Condition, checked_present, conditioned
from score_sde.models.former import warn_of_module

NEEDS_KEY = "this network has dropout: train=True needs a key, as apply(..., key=key)"
"""The error of a network that draws random numbers and has no key."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """The arguments of a module's ``__call__``, and the keywords that a condition
    becomes.

    Attributes:
        names: the names of the arguments; None for any.
    """

    names: frozenset[str] | None

    @classmethod
    def of(cls, module: Any, *, conditional: bool) -> "Call":
        """The arguments of a module.

        Raises:
            ValueError: the module is conditional and has no argument ``condition``.
        """
        arguments = inspect.signature(type(module).__call__).parameters
        takes_any = any(a.kind is a.VAR_KEYWORD for a in arguments.values())
        call = cls(names=None if takes_any else frozenset(arguments))
        if conditional and call.is_former:
            warn_of_module(type(module).__name__)
        elif conditional and not call.has("condition"):
            raise ValueError(
                f"{type(module).__name__} has no argument 'condition': write def __call__(self, x, "
                "t, *, condition=None, present=None, train=False)"
            )
        return call

    def has(self, name: str) -> bool:
        """Whether the module has this argument."""
        return self.names is None or name in self.names

    @property
    def is_former(self) -> bool:
        """Whether the module was written for version 0.1: its condition is ``label``."""
        return self.names is not None and "label" in self.names and not self.has("condition")

    def keywords(self, condition: PyTree[Any], present: Array | None) -> dict[str, Any]:
        """The keywords of a call."""
        checks.require(
            present is None or self.has("present"),
            "the module of this network has no argument 'present', so that its condition "
            "cannot be absent",
        )
        if self.is_former:
            return {"label": condition}
        given = {"condition": condition, "present": present}
        return {name: value for name, value in given.items() if value is not None}

    def keywords_of_batch(
        self, kind: Condition | None, condition: PyTree[Any], present: Any, batch: int
    ) -> dict[str, Any]:
        """The keywords of a call for a batch, whose conditions must be of a ``kind``.

        Raises:
            ValueError: the network has no condition, or one of another structure, shape
                or type.
        """
        if condition is not None:
            condition = conditioned(kind).stacked(condition, batch)
        return self.keywords(condition, checked_present(present, condition, (batch,)))

    def keywords_of_init(self, kind: Condition | None) -> dict[str, Any]:
        """The keywords of the call that makes the parameters."""
        if kind is None:
            return self.keywords(None, None)
        present = jnp.ones((1,), bool) if self.has("present") else None
        return self.keywords(kind.zeros(1), present)
