"""The cosine schedule, a variance-preserving SDE."""

import math
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from score_sde import checks
from score_sde.precision import wide, wide_time
from score_sde.sdes.base import SDE, Marginal, check_times
from score_sde.typing import SampleLike, Scalar, ScalarLike


@dataclass(frozen=True, kw_only=True)
class CosineSDE(SDE):
    """``x_t = cos(phi) x_0 + sin(phi) eps`` with ``tan(phi) = exp(-shift / 2) tan(pi t / 2)``.

    The schedule of Nichol & Dhariwal 2021, section 3.2, in continuous time (Kingma &
    Gao 2023, table 1). ``log_snr_shift`` is the ``shift``: ``2 log(64 / d)`` for images
    of ``d`` pixels a side in Hoogeboom et al. 2023, section 3.1. With ``phi' = dphi /
    dt`` the SDE is ``dx = -tan(phi) phi' x dt + sqrt(2 tan(phi) phi') dw``. It ends
    before ``t = 1``, where the drift is infinite; samplers that take their steps in
    ``t`` therefore need a grid such as ``log_snr``.

    >>> import score_sde as ss
    >>> alpha, sigma = ss.CosineSDE().marginal(0.5)
    >>> round(float(alpha), 3), round(float(sigma), 3)
    (0.707, 0.707)
    """

    log_snr_shift: float = 0.0
    t_min: float = 1e-3
    t_max: float = 0.998

    def __post_init__(self) -> None:
        check_times(self.t_min, self.t_max, end=1.0)
        checks.require(
            math.isfinite(self.log_snr_shift), f"log_snr_shift={self.log_snr_shift} must be finite"
        )

    def drift(self, x: SampleLike, t: ScalarLike) -> Float[Array, "*shape"]:
        """``-tan(phi) phi' x``."""
        return -self._rate(t) * wide(x)

    def diffusion(self, t: ScalarLike) -> Scalar:
        """``sqrt(2 tan(phi) phi')``."""
        return jnp.sqrt(2.0 * self._rate(t))

    def marginal(self, t: ScalarLike) -> Marginal:
        """``(cos(phi), sin(phi))``."""
        cos, sin = self._sides(t)
        radius = jnp.hypot(cos, sin)
        return Marginal(cos / radius, sin / radius)

    def time_at(self, log_snr: ScalarLike) -> Scalar:
        """``2 / pi arctan(exp((shift - log_snr) / 2))``."""
        return (
            2.0
            / math.pi
            * jnp.arctan(jnp.exp(0.5 * (self.log_snr_shift - wide(log_snr, "log_snr"))))
        )

    def prior_std(self) -> float:
        """``sin(phi)`` at ``t_max``."""
        return math.sin(
            math.atan(math.exp(-0.5 * self.log_snr_shift) * math.tan(0.5 * math.pi * self.t_max))
        )

    def _sides(self, t: ScalarLike) -> tuple[Scalar, Scalar]:
        """The adjacent and the opposite side of a right triangle with the angle ``phi``."""
        right, t = 0.5 * math.pi, wide_time(t)
        # cos(pi t / 2) as the sine of pi (1 - t) / 2, which is accurate near t = 1.
        cos, sin = jnp.sin(right * (1.0 - jnp.asarray(t))), jnp.sin(right * jnp.asarray(t))
        return cos, math.exp(-0.5 * self.log_snr_shift) * sin

    def _rate(self, t: ScalarLike) -> Scalar:
        """``tan(phi) phi'``."""
        cos, sin = self._sides(t)
        growth = 0.5 * math.pi * math.exp(-0.5 * self.log_snr_shift)
        return growth * sin / (cos * (jnp.square(cos) + jnp.square(sin)))
