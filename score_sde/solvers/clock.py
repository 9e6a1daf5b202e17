"""The forward clock of every solve.

Stochastic solvers are silently wrong when diffrax runs them backwards in time. So the
time ``s`` of a solver always increases: it is the elapsed ``|t - t_start|``, or ``-t``
where ``t`` falls. Only this file converts between the two.
"""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Shaped

from score_sde.typing import ScalarLike


@dataclass(frozen=True)
class Clock:
    """``t = start + direction s``, clipped to ``limits``, since the equation may be
    undefined beyond them.
    """

    start: float
    direction: Literal[-1, 1]
    limits: tuple[float, float]

    @classmethod
    def between(cls, start: float, stop: float) -> "Clock":
        """The clock of the elapsed ``s = |t - start|`` from ``start`` to ``stop``."""
        return cls(start, 1 if stop > start else -1, (min(start, stop), max(start, stop)))

    @classmethod
    def signed(cls, start: float, stop: float) -> "Clock":
        """The clock of ``s = t`` or ``s = -t``, which is more precise near ``t = 0``
        than ``|t - start|``.
        """
        return cls(0.0, 1 if stop > start else -1, (min(start, stop), max(start, stop)))

    def time(self, elapsed: ScalarLike) -> ScalarLike:
        """Diffusion time ``t`` at ``s``."""
        t = self.start + self.direction * elapsed
        return jnp.clip(t, *self.limits) if isinstance(t, jax.Array) else np.clip(t, *self.limits)

    def elapsed(self, t: Shaped[ArrayLike, "*times"]) -> Shaped[ArrayLike, "*times"]:
        """``s`` at each diffusion time ``t``."""
        return self.direction * (t - self.start)
