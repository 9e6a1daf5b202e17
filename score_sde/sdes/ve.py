"""The variance-exploding SDE, the continuous limit of NCSN's noise levels."""

import math
from dataclasses import dataclass

import jax.numpy as jnp

from score_sde import checks
from score_sde.precision import wide, wide_time
from score_sde.sdes.base import check_times
from score_sde.sdes.driftless import DriftlessSDE
from score_sde.typing import Scalar, ScalarLike


@dataclass(frozen=True, kw_only=True)
class VESDE(DriftlessSDE):
    """``dx = sigma(t) sqrt(2 log(sigma_max / sigma_min)) dw`` with ``sigma(t) =
    sigma_min (sigma_max / sigma_min)^t`` (Song et al. 2021, eqs. 9 and 30).

    The marginal's standard deviation is ``sigma(t)`` itself, so that ``t = 0`` stands
    for data already smoothed by ``sigma_min``. ``sigma_max`` should be near the largest
    distance between two examples.

    >>> import score_sde as ss
    >>> round(float(ss.VESDE(sigma_min=0.01, sigma_max=100.0).marginal(0.5).sigma), 3)
    1.0
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0
    t_min: float = 1e-5
    t_max: float = 1.0

    def __post_init__(self) -> None:
        check_times(self.t_min, self.t_max)
        checks.positive(sigma_min=self.sigma_min)
        checks.increasing(sigma_min=self.sigma_min, sigma_max=self.sigma_max)

    @property
    def log_ratio(self) -> float:
        """``log(sigma_max / sigma_min)``."""
        return math.log(self.sigma_max / self.sigma_min)

    def diffusion(self, t: ScalarLike) -> Scalar:
        """``sigma(t) sqrt(2 log(sigma_max / sigma_min))``."""
        return math.sqrt(2.0 * self.log_ratio) * self.sigma(t)

    def sigma(self, t: ScalarLike) -> Scalar:
        """``sigma_min (sigma_max / sigma_min)^t``."""
        return self.sigma_min * jnp.exp(jnp.asarray(wide_time(t)) * self.log_ratio)

    def time_at(self, log_snr: ScalarLike) -> Scalar:
        """``log(sigma / sigma_min) / log(sigma_max / sigma_min)`` with ``log sigma =
        -log_snr / 2``.
        """
        return (-0.5 * wide(log_snr, "log_snr") - math.log(self.sigma_min)) / self.log_ratio

    def prior_std(self) -> float:
        """``sigma(t_max)``."""
        return self.sigma_min * math.exp(self.t_max * self.log_ratio)
