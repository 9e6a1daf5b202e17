"""The forward clock on which everything is integrated.

Stochastic solvers are silently wrong when diffrax runs them backwards in time. So time
always runs forward: the solver sees the elapsed ``s = |t - t_start|``, or ``s = -t``
where ``t`` falls, and only this file knows which.
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
    """``t = start + direction s``, within ``limits``: rounding leads to no time where
    the equation is not defined.
    """

    start: float
    direction: Literal[-1, 1]
    limits: tuple[float, float]

    @classmethod
    def between(cls, start: float, stop: float) -> "Clock":
        """The clock of the elapsed ``s``, which leaves ``start`` at 0 towards ``stop``."""
        return cls(start, 1 if stop > start else -1, (min(start, stop), max(start, stop)))

    @classmethod
    def signed(cls, start: float, stop: float) -> "Clock":
        """The clock that reads ``t`` or ``-t`` itself: near ``t = 0`` it has digits
        that ``|t - start|`` has not.
        """
        return cls(0.0, 1 if stop > start else -1, (min(start, stop), max(start, stop)))

    def time(self, elapsed: ScalarLike) -> ScalarLike:
        """Diffusion time ``t`` at ``s``."""
        t = self.start + self.direction * elapsed
        return jnp.clip(t, *self.limits) if isinstance(t, jax.Array) else np.clip(t, *self.limits)

    def elapsed(self, t: Shaped[ArrayLike, "*times"]) -> Shaped[ArrayLike, "*times"]:
        """``s`` at each diffusion time ``t``."""
        return self.direction * (t - self.start)
