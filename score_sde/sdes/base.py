"""The interface of a stochastic differential equation with Gaussian marginals.

Every SDE here is linear with a scalar diffusion, ``dx = f(t) x dt + g(t) dw`` on
``[t_min, t_max]``, so that ``p(x_t | x_0) = N(alpha(t) x_0, sigma(t)^2 I)`` is known in
closed form (Song et al. 2021, section 3 and appendix B).
"""

import abc
import math
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from score_sde import checks
from score_sde.precision import as_state, wide, wide_time
from score_sde.typing import Key, SampleLike, Scalar, ScalarLike

BISECTIONS = 72
"""20 for the order of magnitude of a time, and 52 for the bits of a float64."""


class Marginal(NamedTuple):
    """The Gaussian ``p(x_t | x_0) = N(alpha x_0, sigma^2 I)``.

    >>> import score_sde as ss
    >>> alpha, sigma = ss.VPSDE().marginal(0.5)
    >>> round(float(alpha), 3), round(float(sigma), 3)
    (0.281, 0.96)
    """

    alpha: Scalar
    sigma: Scalar


class SDE(abc.ABC):
    """``dx = drift(x, t) dt + diffusion(t) dw`` for ``t`` in ``[t_min, t_max]``.

    Data are at ``t = 0``, the prior is at ``t_max``. Sampling and likelihood stop at
    ``t_min > 0``, where the score is still finite. Subclasses are frozen dataclasses:
    hashable values, which jitted functions may close over. ``x`` is one sample of any
    shape in model units, ``t`` a scalar; a batch is ``jax.vmap``.

    >>> import score_sde as ss
    >>> sde = ss.VPSDE(beta_max=10.0)
    >>> isinstance(sde, ss.SDE), sde.t_max
    (True, 1.0)
    """

    t_min: float
    t_max: float

    @abc.abstractmethod
    def drift(self, x: Float[Array, "*shape"], t: ScalarLike) -> Float[Array, "*shape"]:
        """The drift ``f(x, t)`` of one sample."""

    @abc.abstractmethod
    def diffusion(self, t: ScalarLike) -> Scalar:
        """The diffusion coefficient ``g(t)``."""

    @abc.abstractmethod
    def marginal(self, t: ScalarLike) -> Marginal:
        """``(alpha, sigma)`` of ``p(x_t | x_0) = N(alpha x_0, sigma^2 I)``."""

    @abc.abstractmethod
    def prior_std(self) -> float:
        """The standard deviation of the prior ``N(0, prior_std^2 I)``, which
        approximates the marginal at ``t_max``.
        """

    def log_snr(self, t: ScalarLike) -> Scalar:
        """The log signal-to-noise ratio ``log(alpha^2 / sigma^2)``; it falls in ``t``.

        >>> import score_sde as ss
        >>> round(float(ss.VPSDE().log_snr(0.5)), 2)
        -2.46
        """
        alpha, sigma = self.marginal(wide_time(t))
        return 2.0 * (jnp.log(alpha) - jnp.log(sigma))

    def time_at(self, log_snr: ScalarLike) -> Scalar:
        """The time at which the log signal-to-noise ratio is ``log_snr``: the inverse
        of `log_snr`.

        This default bisects ``[0, t_max]``, for an SDE without a closed form, in any
        unit of time.

        >>> import score_sde as ss
        >>> round(float(ss.VPSDE().time_at(0.0)), 3)
        0.259
        """
        value = wide(log_snr, "log_snr")

        def halve(_: Any, ends: tuple[Scalar, Scalar]) -> tuple[Scalar, Scalar]:
            # Geometric means while the interval spans orders of magnitude: near the
            # data the relative error of the time matters.
            low, high = ends
            middle = jnp.where(
                low > 0.25 * high, 0.5 * (low + high), jnp.sqrt(low) * jnp.sqrt(high)
            )
            # Where sigma underflows to 0, the ratio is infinite or NaN.
            before = ~(self.log_snr(middle) <= value)
            return jnp.where(before, middle, low), jnp.where(before, high, middle)

        tiny, end = (
            jnp.full_like(value, jnp.finfo(value.dtype).tiny),
            jnp.full_like(value, self.t_max),
        )
        return jax.lax.fori_loop(0, BISECTIONS, halve, (tiny, end))[1]

    def step_times(self) -> Float[np.ndarray, " steps"] | None:
        """The rising times of the levels of a discrete process, or None for an SDE
        without such levels. The discrete samplers use them.
        """
        return None

    def transition(self, t_from: ScalarLike, t_to: ScalarLike) -> Marginal:
        """``(alpha, sigma)`` of ``p(x_t_to | x_t_from)``, for ``t_from <= t_to``.

        ``alpha = alpha_to / alpha_from`` and ``sigma^2 = sigma_to^2 - alpha^2
        sigma_from^2``.
        """
        start, end = self.marginal(wide_time(t_from)), self.marginal(wide_time(t_to))
        alpha = end.alpha / start.alpha
        variance = jnp.square(end.sigma) - jnp.square(alpha * start.sigma)
        return Marginal(alpha, jnp.sqrt(jnp.maximum(variance, 0.0)))


def perturb(sde: SDE, x0: SampleLike, t: ScalarLike, noise: SampleLike) -> Float[Array, "*shape"]:
    """``x_t = alpha(t) x_0 + sigma(t) noise``: one example perturbed to time ``t``.

    ``noise`` is standard normal and has the shape of ``x0``. The result has the
    floating-point type of ``x0``, and is computed in float32 at least.

    >>> import score_sde as ss
    >>> ss.perturb(ss.RectifiedFlowSDE(), 2.0, 0.5, -1.0)
    Array(0.5, dtype=float32...)
    """
    alpha, sigma = sde.marginal(wide_time(t))
    return as_state(alpha * wide(x0, "x0") + sigma * wide(noise, "noise"), x0)


def prior_sample(key: Key, sde: SDE, shape: tuple[int, ...]) -> Float[Array, "*shape"]:
    """One sample of the prior ``N(0, prior_std^2 I)``.

    >>> import jax, score_sde as ss
    >>> draw = lambda key: ss.prior_sample(key, ss.VPSDE(), (8, 8, 3))
    >>> jax.eval_shape(draw, jax.random.key(0)).shape
    (8, 8, 3)
    """
    return sde.prior_std() * jax.random.normal(key, shape)


def prior_log_prob(sde: SDE, x: SampleLike) -> Scalar:
    """``log N(x; 0, prior_std^2 I)`` of one sample, in nats over all its dimensions, in
    float32 at least.

    >>> import jax.numpy as jnp
    >>> import score_sde as ss
    >>> round(float(ss.prior_log_prob(ss.VPSDE(), jnp.zeros(2))), 3)
    -1.838
    """
    x, std = wide(x), sde.prior_std()
    normalizer = x.size * (0.5 * math.log(2.0 * math.pi) + math.log(std))
    return -0.5 * jnp.sum(jnp.square(x / std)) - normalizer


def starting_at(sde: SDE, t_min: float) -> SDE:
    """The same SDE with another ``t_min``."""
    return replace(sde, t_min=t_min)  # pyright: ignore[reportArgumentType, reportReturnType] - every SDE is a dataclass


def check_times(t_min: float, t_max: float, *, end: float | None = None) -> None:
    """Raise ``ValueError`` unless ``0 < t_min < t_max``, and ``t_max < end`` for an SDE
    whose drift is infinite at ``end``.
    """
    checks.positive(t_min=t_min)
    checks.increasing(t_min=t_min, t_max=t_max)
    if end is not None:
        checks.require(
            t_max < end, f"t_max={t_max} must be less than {end:g}, where the drift is infinite"
        )
