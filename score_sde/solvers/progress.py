"""Telling the host how far a compiled solve has come."""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp


class ProgressMeter(diffrax.AbstractProgressMeter):
    """Calls ``report`` with the part of the solve that is done, every so many steps, and with 1 at the end.

    A batch made by ``jax.vmap`` reports once for all its samples, with the slowest of them.
    """

    report: Callable[[float], None] = eqx.field(static=True)
    every: int = eqx.field(static=True)

    def init(self) -> Any:
        """The number of steps so far."""
        return jnp.zeros((), jnp.int32)

    def step(self, state: Any, progress: Any) -> Any:
        """Report, if it is time."""
        slowest = -eqxi.unvmap_max(-progress)
        due = (eqxi.unvmap_max(state) % self.every == 0) & (slowest < 1.0)  # the end itself is left to `close`
        jax.lax.cond(
            eqxi.nonbatchable(due),
            lambda done: jax.debug.callback(self._call, done),
            lambda done: None,
            eqxi.nonbatchable(slowest),
        )
        return state + 1

    def close(self, state: Any) -> None:
        """Report the end, wherever the last report was, and even where the solve failed: nothing more will come."""
        after = eqxi.nonbatchable(eqxi.unvmap_max(state))
        jax.debug.callback(lambda _: self.report(1.0), after)

    def _call(self, done: Any) -> None:
        self.report(float(done))
