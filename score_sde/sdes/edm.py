"""The SDE of EDM, whose noise level is the time itself but for a factor."""

import math
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Shaped

from score_sde.precision import wide, wide_time
from score_sde.sdes.base import SDE, Marginal, check_times
from score_sde.typing import Scalar, ScalarLike


@dataclass(frozen=True, kw_only=True)
class EDMSDE(SDE):
    """``dx = sigma_max sqrt(2 t) dw``, with ``p(x_t | x_0) = N(x_0, (sigma_max t)^2 I)``.

    Karras et al. 2022, table 1: their ``sigma(t) = t``, on a clock that ends at 1;
    ``sigma_min = 0.002`` is ``t_min = 2.5e-5``. It is also the linear VE SDE of Song et
    al. 2021b (ScoreFlow).
    """

    sigma_max: float = 80.0
    t_min: float = 2.5e-5
    t_max: float = 1.0

    def __post_init__(self) -> None:
        check_times(self.t_min, self.t_max)
        if not self.sigma_max > 0.0:
            raise ValueError(f"sigma_max={self.sigma_max} must be positive")

    def drift(self, x: Shaped[ArrayLike, "*shape"], t: ScalarLike) -> Float[Array, "*shape"]:
        """Zero."""
        del t
        return jnp.zeros_like(wide(x))

    def diffusion(self, t: ScalarLike) -> Scalar:
        """``sigma_max sqrt(2 t)``."""
        return self.sigma_max * math.sqrt(2.0) * jnp.sqrt(wide_time(t))

    def marginal(self, t: ScalarLike) -> Marginal:
        """``(1, sigma_max t)``."""
        sigma = self.sigma_max * jnp.asarray(wide_time(t))
        return Marginal(jnp.ones_like(sigma), sigma)

    def time_at(self, log_snr: ScalarLike) -> Scalar:
        """``sigma / sigma_max`` with ``sigma = exp(-log_snr / 2)``."""
        return jnp.exp(-0.5 * wide(log_snr, "log_snr")) / self.sigma_max

    def prior_std(self) -> float:
        """``sigma_max t_max``: the spread of the data is neglected beside it."""
        return self.sigma_max * self.t_max
