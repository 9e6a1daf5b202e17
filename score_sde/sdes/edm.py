"""The SDE of EDM, whose noise level is proportional to time."""

import math
from dataclasses import dataclass

import jax.numpy as jnp

from score_sde import checks
from score_sde.precision import wide, wide_time
from score_sde.sdes.base import check_times
from score_sde.sdes.driftless import DriftlessSDE
from score_sde.typing import Scalar, ScalarLike


@dataclass(frozen=True, kw_only=True)
class EDMSDE(DriftlessSDE):
    """``dx = sigma_max sqrt(2 t) dw``, with ``p(x_t | x_0) = N(x_0, (sigma_max t)^2 I)``.

    The SDE of Karras et al. 2022, table 1, where ``sigma(t) = t``, with time divided by
    ``sigma_max``: their ``sigma_min = 0.002`` is ``t_min = 2.5e-5``. It is also the
    linear VE SDE of Song, Durkan et al. 2021.

    >>> import score_sde as ss
    >>> ss.EDMSDE(sigma_max=80.0).marginal(0.5).sigma
    Array(40., dtype=float32...)
    """

    sigma_max: float = 80.0
    t_min: float = 2.5e-5
    t_max: float = 1.0

    def __post_init__(self) -> None:
        check_times(self.t_min, self.t_max)
        checks.positive(sigma_max=self.sigma_max)

    def diffusion(self, t: ScalarLike) -> Scalar:
        """``sigma_max sqrt(2 t)``."""
        return self.sigma_max * math.sqrt(2.0) * jnp.sqrt(wide_time(t))

    def sigma(self, t: ScalarLike) -> Scalar:
        """``sigma_max t``."""
        return self.sigma_max * jnp.asarray(wide_time(t))

    def time_at(self, log_snr: ScalarLike) -> Scalar:
        """``sigma / sigma_max`` with ``sigma = exp(-log_snr / 2)``."""
        return jnp.exp(-0.5 * wide(log_snr, "log_snr")) / self.sigma_max

    def prior_std(self) -> float:
        """``sigma_max t_max``."""
        return self.sigma_max * self.t_max
