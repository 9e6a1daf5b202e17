"""The variance-preserving SDE, the continuous limit of DDPM."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from score_sde import checks
from score_sde.precision import wide, wide_time
from score_sde.sdes.base import SDE, Marginal, check_times
from score_sde.typing import SampleLike, Scalar, ScalarLike


@dataclass(frozen=True, kw_only=True)
class LinearBetaSDE(SDE):
    """An SDE with drift ``-beta(t) x / 2``, where ``beta(t) = beta_min + (beta_max -
    beta_min) t``.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    t_min: float = 1e-3
    t_max: float = 1.0

    def __post_init__(self) -> None:
        check_times(self.t_min, self.t_max)
        checks.positive(beta_min=self.beta_min)
        checks.at_least(self.beta_min, beta_max=self.beta_max, because="the value of beta_min")

    def beta(self, t: ScalarLike) -> Scalar:
        """The rate ``beta(t)``."""
        t = wide_time(t)
        return jnp.asarray(self.beta_min + (self.beta_max - self.beta_min) * t)

    def log_alpha(self, t: ScalarLike) -> Scalar:
        """``log alpha(t) = -1/2 int_0^t beta(s) ds``."""
        t = wide_time(t)
        return jnp.asarray(
            -0.25 * (self.beta_max - self.beta_min) * t * t - 0.5 * self.beta_min * t
        )

    def drift(self, x: SampleLike, t: ScalarLike) -> Float[Array, "*shape"]:
        """``-beta(t) x / 2``."""
        return -0.5 * self.beta(t) * wide(x)

    def time_of_log_alpha(self, log_alpha: Scalar) -> Scalar:
        """The inverse of `log_alpha`: the positive root of a quadratic, in the form
        without cancellation.
        """
        slope = self.beta_max - self.beta_min
        return (
            -4.0
            * log_alpha
            / (self.beta_min + jnp.sqrt(self.beta_min**2 - 4.0 * slope * log_alpha))
        )

    def prior_std(self) -> float:
        """One: the marginal at ``t_max`` is nearly standard normal."""
        return 1.0


@dataclass(frozen=True, kw_only=True)
class VPSDE(LinearBetaSDE):
    """``dx = -beta(t) x / 2 dt + sqrt(beta(t)) dw`` (Song et al. 2021, eq. 11).

    ``alpha = exp(-1/2 int beta)`` and ``sigma^2 = 1 - alpha^2``, so that unit variance
    is preserved.

    >>> import score_sde as ss
    >>> round(float(ss.VPSDE().marginal(0.5).sigma), 3)
    0.96
    """

    def diffusion(self, t: ScalarLike) -> Scalar:
        """``sqrt(beta(t))``."""
        return jnp.sqrt(self.beta(t))

    def marginal(self, t: ScalarLike) -> Marginal:
        """``(exp(log_alpha), sqrt(1 - exp(2 log_alpha)))`` (Song et al. 2021, eq. 29)."""
        log_alpha = self.log_alpha(t)
        # expm1: in float32, 1 - exp(...) loses 2.4 % of sigma at t = 1e-5.
        return Marginal(jnp.exp(log_alpha), jnp.sqrt(-jnp.expm1(2.0 * log_alpha)))

    def time_at(self, log_snr: ScalarLike) -> Scalar:
        """The time where ``alpha^2 = sigmoid(log_snr)``."""
        return self.time_of_log_alpha(0.5 * jax.nn.log_sigmoid(wide(log_snr, "log_snr")))
