"""How training draws its times."""

from dataclasses import dataclass

import jax

from score_sde.sdes.base import SDE
from score_sde.typing import Key, Scalar


@dataclass(frozen=True, kw_only=True)
class UniformTime:
    """``t ~ U[t_min, t_max]``. Training goes nearer to the data than sampling does: ``t_min`` is not the SDE's own."""

    t_min: float = 1e-5

    def __post_init__(self) -> None:
        if not self.t_min > 0.0:
            raise ValueError(f"t_min={self.t_min} must be positive: the score is infinite at t = 0")

    def __call__(self, key: Key, sde: SDE) -> Scalar:
        """One time."""
        return jax.random.uniform(key, minval=self.t_min, maxval=sde.t_max)
