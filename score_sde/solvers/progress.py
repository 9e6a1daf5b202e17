"""Telling the host how far a compiled solve has come."""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp


class ProgressMeter(diffrax.AbstractProgressMeter):
    """Calls ``report`` with the part of the solve that is done, every so many steps,
    and with 1 at the last.

    It is a part of ``num_steps``, or where their number is not known, of the time. A
    batch made by ``jax.vmap`` reports once for all its samples, with the slowest of
    them.
    """

    report: Callable[[float], None] = eqx.field(static=True)
    every: int = eqx.field(static=True)
    num_steps: int | None = eqx.field(static=True)

    def init(self) -> Any:
        """The number of steps so far."""
        return jnp.zeros((), jnp.int32)

    def step(self, state: Any, progress: Any) -> Any:
        """Report, if it is time."""
        state = state + 1
        done = progress if self.num_steps is None else state / self.num_steps
        slowest = -eqxi.unvmap_max(-done)
        # By the clock the end may be a rounding away.
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
        """Nothing: the last step has reported."""

    def _call(self, done: Any) -> None:
        self.report(float(done))
