"""The sub-variance-preserving SDE, proposed for likelihoods."""

from dataclasses import dataclass

import jax.numpy as jnp

from score_sde.precision import wide
from score_sde.sdes.base import Marginal
from score_sde.sdes.vp import LinearBetaSDE
from score_sde.typing import Scalar, ScalarLike


@dataclass(frozen=True, kw_only=True)
class SubVPSDE(LinearBetaSDE):
    """``dx = -beta(t) x / 2 dt + sqrt(beta(t) (1 - exp(-2 int beta))) dw`` (Song et al.
    2021, eq. 12).

    ``alpha`` is as in the VP SDE, and ``sigma = 1 - alpha^2`` is never greater than
    there.

    >>> import score_sde as ss
    >>> round(float(ss.SubVPSDE().marginal(0.5).sigma), 3)
    0.921
    """

    def diffusion(self, t: ScalarLike) -> Scalar:
        """``sqrt(beta(t) (1 - alpha(t)^4))``."""
        return jnp.sqrt(-self.beta(t) * jnp.expm1(4.0 * self.log_alpha(t)))

    def marginal(self, t: ScalarLike) -> Marginal:
        """``(exp(log_alpha), 1 - exp(2 log_alpha))`` (Song et al. 2021, eq. 29)."""
        log_alpha = self.log_alpha(t)
        return Marginal(jnp.exp(log_alpha), -jnp.expm1(2.0 * log_alpha))

    def time_at(self, log_snr: ScalarLike) -> Scalar:
        """The time where ``sinh(-log alpha) = exp(-log_snr / 2) / 2``, since ``sigma /
        alpha = 1 / alpha - alpha``.
        """
        return self.time_of_log_alpha(-jnp.arcsinh(0.5 * jnp.exp(-0.5 * wide(log_snr, "log_snr"))))
