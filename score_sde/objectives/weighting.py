"""Weightings ``lambda(t)`` of ``|score - grad log p_t|^2`` over time.

Papers often weight the error of another prediction. The error of the noise is ``sigma``
times the error of the score, and the error of the denoised sample ``sigma^2 / alpha``
times. ``snr`` is ``alpha^2 / sigma^2``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import jax
import jax.numpy as jnp

from score_sde import checks
from score_sde.precision import wide_time
from score_sde.sdes import SDE
from score_sde.typing import Scalar, ScalarLike

Weighting: TypeAlias = Callable[[SDE, ScalarLike], Scalar]
"""``(sde, t) -> lambda(t)``, the weight of ``|score - grad log p_t|^2``."""


def variance(sde: SDE, t: ScalarLike) -> Scalar:
    """``sigma(t)^2``: the losses of all noise levels are of the same order (Song et al.
    2021, section 3.3).
    """
    return jnp.square(sde.marginal(wide_time(t)).sigma)


def likelihood(sde: SDE, t: ScalarLike) -> Scalar:
    """``g(t)^2``: the loss bounds the negative log-likelihood (Song, Durkan et al.
    2021, theorem 1).
    """
    return jnp.square(sde.diffusion(wide_time(t)))


def unweighted(sde: SDE, t: ScalarLike) -> Scalar:
    """One: the Fisher divergence itself, as for a single noise level or none (Hyvärinen
    2005; Vincent 2011).
    """
    del sde
    return jnp.ones_like(jnp.asarray(wide_time(t)))


def flow_matching(sde: SDE, t: ScalarLike) -> Scalar:
    """``g(t)^4 / 4``: the error of the probability-flow velocity ``f - 1/2 g^2 score``
    (Lipman et al. 2023, eq. 9).
    """
    return 0.25 * jnp.square(jnp.square(sde.diffusion(wide_time(t))))


@dataclass(frozen=True, kw_only=True)
class MinSNR:
    """``min(snr, gamma)`` times the error of the denoised sample: ``sigma^2 min(1,
    gamma / snr)`` (Hang et al. 2023).
    """

    gamma: float = 5.0

    def __post_init__(self) -> None:
        # An infinite gamma is the weight sigma^2.
        checks.require(self.gamma > 0.0, f"gamma={self.gamma} must be positive")

    def __call__(self, sde: SDE, t: ScalarLike) -> Scalar:
        """``sigma^2 min(1, gamma / snr)``."""
        return variance(sde, t) * jnp.minimum(1.0, self.gamma * jnp.exp(-sde.log_snr(t)))


@dataclass(frozen=True, kw_only=True)
class EDMWeighting:
    """``(r^2 + sigma_data^2) / (r sigma_data)^2`` times the error of the denoised
    sample, with ``r = sigma / alpha`` (Karras et al. 2022, table 1).

    It equals ``sigma^2 (1 + r^2 / sigma_data^2)``. The loss of a network with EDM
    preconditioning then starts at one at every noise level. ``sigma_data`` is the
    standard deviation of the data.
    """

    sigma_data: float = 0.5

    def __post_init__(self) -> None:
        checks.positive(sigma_data=self.sigma_data)

    def __call__(self, sde: SDE, t: ScalarLike) -> Scalar:
        """``sigma^2 (1 + r^2 / sigma_data^2)``."""
        return variance(sde, t) * (1.0 + jnp.exp(-sde.log_snr(t)) / self.sigma_data**2)


@dataclass(frozen=True, kw_only=True)
class P2:
    """``1 / (k + snr)^gamma`` times the error of the noise: ``sigma^2 / (k +
    snr)^gamma`` (Choi et al. 2022).
    """

    k: float = 1.0
    gamma: float = 1.0

    def __post_init__(self) -> None:
        checks.positive(k=self.k)
        checks.not_negative(gamma=self.gamma)

    def __call__(self, sde: SDE, t: ScalarLike) -> Scalar:
        """``sigma^2 / (k + snr)^gamma``."""
        # In logarithms: near the data snr^gamma would overflow half precision.
        log_sum = jnp.logaddexp(jnp.log(self.k), sde.log_snr(t))
        return variance(sde, t) * jnp.exp(-self.gamma * log_sum)


@dataclass(frozen=True, kw_only=True)
class Sigmoid:
    """``sigmoid(bias - log_snr)`` times the integrand of the variational bound: ``g^2
    sigmoid(bias - log_snr)`` (Kingma & Gao 2023, table 1 and section 4.2).

    It suppresses the low noise levels, whose details are hardly visible.
    """

    bias: float = 2.0

    def __call__(self, sde: SDE, t: ScalarLike) -> Scalar:
        """``g^2 sigmoid(bias - log_snr)``."""
        return likelihood(sde, t) * jax.nn.sigmoid(self.bias - sde.log_snr(t))
