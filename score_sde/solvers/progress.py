"""Reports of the progress of a compiled solve to the host."""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp


class ProgressMeter(diffrax.AbstractProgressMeter):
    """Calls ``report`` with the completed fraction of the solve every ``every`` steps,
    and with 1 at the last step.

    It is the fraction of ``num_steps``, or of the time where their number is unknown. A
    batch made by ``jax.vmap`` reports once, the fraction of its slowest sample.
    """

    report: Callable[[float], None] = eqx.field(static=True)
    every: int = eqx.field(static=True)
    num_steps: int | None = eqx.field(static=True)

    def init(self) -> Any:
        """The number of steps so far."""
        return jnp.zeros((), jnp.int32)

    def step(self, state: Any, progress: Any) -> Any:
        """Count the step, and report if one is due."""
        state = state + 1
        done = progress if self.num_steps is None else state / self.num_steps
        slowest = -eqxi.unvmap_max(-done)
        # The clock may differ from the end by rounding.
        slowest = (
            jnp.where(slowest > 1.0 - 1e-6, 1.0, slowest) if self.num_steps is None else slowest
        )
        due = (eqxi.unvmap_max(state) % self.every == 0) | (slowest == 1.0)
        jax.lax.cond(
            eqxi.nonbatchable(due),
            lambda done: jax.debug.callback(self._call, done),
            lambda done: None,
            eqxi.nonbatchable(slowest),
        )
        return state

    def close(self, state: Any) -> None:
        """Do nothing: the last step has reported."""

    def _call(self, done: Any) -> None:
        self.report(float(done))
