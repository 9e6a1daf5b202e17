"""The variance-preserving SDE that interpolates the levels of a discrete-time model."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from score_sde import checks
from score_sde.precision import wide, wide_time
from score_sde.renamed import renamed
from score_sde.sdes.base import SDE, Marginal, check_times
from score_sde.sdes.discretization import MAX_LEVELS, log_alphas, scheduled_betas
from score_sde.typing import SampleLike, Scalar, ScalarLike


class LogAlpha(NamedTuple):
    """``log alpha`` as a cubic polynomial ``c_0 + c_1 u + c_2 u^2 + c_3 u^3`` between
    neighbouring levels.

    Attributes:
        coefficients: row ``i`` is the polynomial between the levels ``i - 1`` and ``i``
            in ``u`` from 0 to 1; level -1 is the data.
        vanishes: whether ``alpha`` falls linearly to 0 in one more step.
    """

    coefficients: Float[np.ndarray, "levels 4"]
    vanishes: bool

    @property
    def last(self) -> float:
        """``log alpha`` of the last level with a signal."""
        return float(self.coefficients[-1].sum())


@renamed(num_levels="num_scales")
@dataclass(frozen=True, kw_only=True)
class DiscreteVPSDE(SDE):
    """``dx = -beta(t) x / 2 dt + sqrt(beta(t)) dw`` with exactly the marginals of a
    discrete model at its levels.

    Level ``i`` of ``num_scales`` is at ``t = (i + 1) / num_scales``, where ``alpha_i^2
    = prod_{j <= i} (1 - beta_j)`` with the ``beta_j`` of `scheduled_betas`, or the
    given ``betas``. Between levels ``log alpha`` is a monotone cubic (Fritsch & Carlson
    1980), so that ``beta(t)`` is continuous and positive.

    With ``zero_terminal_snr`` the last level has ``alpha = 0``, where the drift is
    infinite. The SDE must then end a level before, with ``t_max`` at most
    ``(num_scales - 1) / num_scales``. The discrete samplers still start at the last
    level, with networks that predict ``v`` or the denoised image.

    >>> import score_sde as ss
    >>> sde = ss.DiscreteVPSDE(schedule="cosine", num_scales=4)
    >>> sde.step_times()
    array([0.25, 0.5 , 0.75, 1.  ])
    """

    schedule: Literal["linear", "scaled_linear", "cosine", "sigmoid"] = "linear"
    num_scales: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02
    betas: tuple[float, ...] | None = None
    zero_terminal_snr: bool = False
    t_min: float = 1e-3
    t_max: float = 1.0

    def __post_init__(self) -> None:
        check_times(self.t_min, self.t_max)
        if self.betas is None:
            scheduled_betas(
                self.schedule, self.num_scales, beta_start=self.beta_start, beta_end=self.beta_end
            )
        else:
            checks.between(2, MAX_LEVELS, num_scales=self.num_scales)
            checks.require(
                len(self.betas) == self.num_scales,
                f"betas has {len(self.betas)} numbers and must have num_scales={self.num_scales}",
            )
            checks.require(
                all(0.0 < beta < 1.0 for beta in self.betas), "betas must lie between 0 and 1"
            )
        end = 1.0 - self.zero_terminal_snr / self.num_scales
        reason = ", since the last level has no signal" if self.zero_terminal_snr else ""
        checks.require(
            self.t_max <= end * (1.0 + 1e-9),
            f"t_max={self.t_max} must be at most {end:.9g}{reason}",
        )

    def drift(self, x: SampleLike, t: ScalarLike) -> Float[Array, "*shape"]:
        """``-beta(t) x / 2``."""
        return -0.5 * self.beta(t) * wide(x)

    def diffusion(self, t: ScalarLike) -> Scalar:
        """``sqrt(beta(t))``."""
        return jnp.sqrt(self.beta(t))

    def marginal(self, t: ScalarLike) -> Marginal:
        """``(alpha, sqrt(1 - alpha^2))``."""
        log_alpha = self.log_alpha(t)
        return Marginal(jnp.exp(log_alpha), jnp.sqrt(-jnp.expm1(2.0 * log_alpha)))

    def prior_std(self) -> float:
        """One."""
        return 1.0

    def log_alpha(self, t: ScalarLike) -> Scalar:
        """``log alpha(t)``, which is exact at the levels."""
        c, u, beyond = self._cubic(t)
        log_alpha = c[0] + u * (c[1] + u * (c[2] + u * c[3]))
        if not _log_alpha(self).vanishes:
            return log_alpha
        return jnp.where(beyond > 0.0, _log_alpha(self).last + jnp.log1p(-beyond), log_alpha)

    def beta(self, t: ScalarLike) -> Scalar:
        """``-2 d log alpha / dt``."""
        c, u, beyond = self._cubic(t)
        rate = -2.0 * self.num_scales * (c[1] + u * (2.0 * c[2] + u * (3.0 * c[3])))
        if not _log_alpha(self).vanishes:
            return rate
        return jnp.where(beyond > 0.0, 2.0 * self.num_scales / (1.0 - beyond), rate)

    def step_times(self) -> Float[np.ndarray, " steps"]:
        """The times of the levels within ``[t_min, t_max]``, and the time of a last
        level without signal if ``t_max`` is the level before it.
        """
        times = np.arange(1, self.num_scales + 1) / self.num_scales
        last = self.t_max + (
            self.zero_terminal_snr and self.t_max > (self.num_scales - 1.5) / self.num_scales
        )
        return times[(times >= self.t_min * (1.0 - 1e-6)) & (times <= last * (1.0 + 1e-6))]

    def _cubic(self, t: ScalarLike) -> tuple[Float[Array, "4"], Scalar, Scalar]:
        """The coefficients at ``t``, ``u`` there, and the number of steps from the last
        level with a signal to ``t``.
        """
        coefficients = _log_alpha(self).coefficients
        n = whole_if_near(jnp.asarray(wide_time(t)) * self.num_scales)
        last = len(coefficients)
        below = jnp.clip(jnp.floor(n), 0, last - 1)
        rows = jnp.asarray(coefficients, n.dtype)[below.astype(jnp.int32)]
        return rows, n - below, jnp.maximum(n - last, 0.0)


def whole_if_near(n: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``n``, or the whole number that it equals but for rounding, as the number of a
    level computed from its time does.
    """
    nearest = jnp.round(n)
    near = jnp.abs(n - nearest) <= 4.0 * jnp.finfo(n.dtype).eps * jnp.maximum(jnp.abs(n), 1.0)
    # The derivative is that of n, which the correction must not change.
    return n + jax.lax.stop_gradient(jnp.where(near, nearest - n, 0.0))


@lru_cache(maxsize=64)
def _log_alpha(sde: DiscreteVPSDE) -> LogAlpha:
    """The polynomials of the SDE, in float64."""
    betas = (
        scheduled_betas(
            sde.schedule, sde.num_scales, beta_start=sde.beta_start, beta_end=sde.beta_end
        )
        if sde.betas is None
        else np.array(sde.betas)
    )
    values = log_alphas(betas, zero_terminal_snr=sde.zero_terminal_snr)
    vanishes = bool(values[-1] == -math.inf)
    values = np.concatenate([[0.0], values[:-1] if vanishes else values])
    steps = np.diff(values)
    # The harmonic mean of neighbouring differences keeps the cubic monotone; at the ends,
    # the one difference.
    inner = 2.0 * steps[1:] * steps[:-1] / (steps[1:] + steps[:-1])
    slopes = np.concatenate([steps[:1], inner, steps[-1:]])
    c2, c3 = 3.0 * steps - 2.0 * slopes[:-1] - slopes[1:], slopes[:-1] + slopes[1:] - 2.0 * steps
    return LogAlpha(np.stack([values[:-1], slopes[:-1], c2, c3], 1), vanishes)
