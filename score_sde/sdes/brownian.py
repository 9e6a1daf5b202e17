"""Brownian motion."""

import math
from dataclasses import dataclass

import jax.numpy as jnp

from score_sde import checks
from score_sde.precision import wide, wide_time
from score_sde.sdes.base import check_times
from score_sde.sdes.driftless import DriftlessSDE
from score_sde.typing import Scalar, ScalarLike


@dataclass(frozen=True, kw_only=True)
class BrownianMotion(DriftlessSDE):
    """``dx = scale dw``, with ``p(x_t | x_0) = N(x_0, scale^2 t I)``.

    >>> import score_sde as ss
    >>> ss.BrownianMotion(scale=2.0).marginal(0.25).sigma
    Array(1., dtype=float32...)
    """

    scale: float = 1.0
    t_min: float = 1e-3
    t_max: float = 1.0

    def __post_init__(self) -> None:
        check_times(self.t_min, self.t_max)
        checks.positive(scale=self.scale)

    def diffusion(self, t: ScalarLike) -> Scalar:
        """The constant ``scale``."""
        del t
        return jnp.asarray(self.scale)

    def sigma(self, t: ScalarLike) -> Scalar:
        """``scale sqrt(t)``."""
        return self.scale * jnp.sqrt(wide_time(t))

    def time_at(self, log_snr: ScalarLike) -> Scalar:
        """``sigma^2 / scale^2`` with ``sigma^2 = exp(-log_snr)``."""
        return jnp.exp(-wide(log_snr, "log_snr")) / self.scale**2

    def prior_std(self) -> float:
        """``scale sqrt(t_max)``."""
        return self.scale * math.sqrt(self.t_max)
