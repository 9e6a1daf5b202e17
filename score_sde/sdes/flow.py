"""The straight interpolation path of flow matching, as an SDE."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from score_sde.precision import wide, wide_time
from score_sde.sdes.base import SDE, Marginal, check_times
from score_sde.typing import SampleLike, Scalar, ScalarLike


@dataclass(frozen=True, kw_only=True)
class RectifiedFlowSDE(SDE):
    """``dx = -x / (1 - t) dt + sqrt(2 t / (1 - t)) dw``: data and noise mixed linearly,
    ``x_t = (1 - t) x_0 + t eps``.

    The path of Liu et al. 2023 and of Lipman et al. 2023 (optimal transport with
    ``sigma_min = 0``), whose ODE is the probability-flow ODE of this SDE. It ends
    before ``t = 1``, where the drift is infinite; samplers that take their steps in
    ``t`` therefore need a grid such as ``log_snr``.

    >>> import score_sde as ss
    >>> alpha, sigma = ss.RectifiedFlowSDE().marginal(0.25)
    >>> float(alpha), float(sigma)
    (0.75, 0.25)
    """

    t_min: float = 1e-3
    t_max: float = 0.998

    def __post_init__(self) -> None:
        check_times(self.t_min, self.t_max, end=1.0)

    def drift(self, x: SampleLike, t: ScalarLike) -> Float[Array, "*shape"]:
        """``-x / (1 - t)``."""
        return -wide(x) / (1.0 - wide_time(t))

    def diffusion(self, t: ScalarLike) -> Scalar:
        """``sqrt(2 t / (1 - t))``."""
        t = wide_time(t)
        return jnp.sqrt(2.0 * t / (1.0 - t))

    def marginal(self, t: ScalarLike) -> Marginal:
        """``(1 - t, t)``."""
        t = jnp.asarray(wide_time(t))
        return Marginal(1.0 - t, t)

    def time_at(self, log_snr: ScalarLike) -> Scalar:
        """``sigmoid(-log_snr / 2)``."""
        return jax.nn.sigmoid(-0.5 * wide(log_snr, "log_snr"))

    def prior_std(self) -> float:
        """``t_max``: the rest ``(1 - t_max) x_0`` of the data is neglected."""
        return self.t_max
