"""Brownian motion, the plainest SDE of all."""

import math
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Shaped

from score_sde.precision import wide, wide_time
from score_sde.sdes.base import SDE, Marginal, check_times
from score_sde.typing import Scalar, ScalarLike


@dataclass(frozen=True, kw_only=True)
class BrownianMotion(SDE):
    """``dx = scale dw``, with ``p(x_t | x_0) = N(x_0, scale^2 t I)``."""

    scale: float = 1.0
    t_min: float = 1e-3
    t_max: float = 1.0

    def __post_init__(self) -> None:
        check_times(self.t_min, self.t_max)
        if not self.scale > 0.0:
            raise ValueError(f"scale={self.scale} must be positive")

    def drift(self, x: Shaped[ArrayLike, "*shape"], t: ScalarLike) -> Float[Array, "*shape"]:
        """Zero."""
        del t
        return jnp.zeros_like(wide(x))

    def diffusion(self, t: ScalarLike) -> Scalar:
        """The constant ``scale``."""
        del t
        return jnp.asarray(self.scale)

    def marginal(self, t: ScalarLike) -> Marginal:
        """``(1, scale sqrt(t))``."""
        sigma = self.scale * jnp.sqrt(wide_time(t))
        return Marginal(jnp.ones_like(sigma), sigma)

    def time_at(self, log_snr: ScalarLike) -> Scalar:
        """``sigma^2 / scale^2`` with ``sigma^2 = exp(-log_snr)``."""
        return jnp.exp(-wide(log_snr, "log_snr")) / self.scale**2

    def prior_std(self) -> float:
        """``scale sqrt(t_max)``: the spread of the data is neglected beside it."""
        return self.scale * math.sqrt(self.t_max)
