"""Adaptive steps that end on the nodes of a lattice."""

from typing import Any

import diffrax
import equinox as eqx
import jax.numpy as jnp

from score_sde.typing import ScalarLike


class OnLattice(diffrax.AbstractAdaptiveStepSizeController):
    """The steps of another controller, shortened to ``spacing`` times a whole number of
    three bits.

    A Brownian path is so rough that a change in the last digit of a step changes the
    noise of that step and of all later ones. Rounded, the steps of a sample are, but
    for rare cases, independent of the order in which its error was summed. They end on
    nodes of a Brownian tree whose finest intervals are no longer than ``spacing``.
    """

    controller: diffrax.AbstractAdaptiveStepSizeController
    spacing: ScalarLike

    def __init__(
        self, controller: diffrax.AbstractAdaptiveStepSizeController, spacing: ScalarLike
    ) -> None:
        self.controller, self.spacing = controller, spacing

    @property
    def rtol(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """``rtol`` of the other controller."""
        return self.controller.rtol

    @property
    def atol(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """``atol`` of the other controller."""
        return self.controller.atol

    @property
    def norm(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """``norm`` of the other controller."""
        return self.controller.norm

    def wrap(self, direction: Any) -> "OnLattice":
        """Wrap the other controller."""
        return eqx.tree_at(lambda self: self.controller, self, self.controller.wrap(direction))

    def init(  # pyright: ignore[reportIncompatibleMethodOverride] - the other arguments pass through
        self, terms: Any, t0: Any, t1: Any, *args: Any
    ) -> tuple[Any, Any]:
        """The rounded end of the first step, and the state of the other controller."""
        end, state = self.controller.init(terms, t0, t1, *args)
        return self._rounded(t0, end), state

    def adapt_step_size(self, *args: Any) -> tuple[Any, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The results of the other controller, with the end of the next step rounded."""
        keep, start, end, *rest = self.controller.adapt_step_size(*args)
        return keep, start, self._rounded(start, end), *rest

    def _rounded(self, start: Any, end: Any) -> Any:
        """The node of the lattice at which the step ends."""
        length = jnp.maximum(jnp.floor((end - start) / self.spacing), 1.0)
        unit = jnp.exp2(jnp.maximum(jnp.floor(jnp.log2(length)) - 2.0, 0.0))
        node = jnp.round(start / self.spacing) + unit * jnp.floor(length / unit)
        # Computed from the index of the node, so that rounding errors do not accumulate.
        return node * self.spacing
