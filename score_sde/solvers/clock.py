"""The forward clock on which everything is integrated.

Stochastic solvers are silently wrong when diffrax runs them backwards in time. So time always runs forward: the
solver sees the elapsed ``s = |t - t_start|``, and only this file knows which way ``t`` goes.
"""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import ArrayLike, Shaped

from score_sde.typing import ScalarLike


@dataclass(frozen=True)
class Clock:
    """``t = start + direction s`` for the elapsed time ``s >= 0``."""

    start: float
    direction: Literal[-1, 1]

    @classmethod
    def between(cls, start: float, stop: float) -> "Clock":
        """The clock that leaves ``start`` towards ``stop``."""
        return cls(start, 1 if stop > start else -1)

    def time(self, elapsed: ScalarLike) -> ScalarLike:
        """Diffusion time ``t`` at the elapsed ``s``."""
        return self.start + self.direction * elapsed

    def elapsed(self, t: Shaped[ArrayLike, "*times"]) -> Shaped[ArrayLike, "*times"]:
        """Elapsed ``s`` at each diffusion time ``t``."""
        return self.direction * (t - self.start)
