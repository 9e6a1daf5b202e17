"""Distributions of training times, as monotone maps from ``u ~ U[0, 1)``, so that
stratified ``u`` give stratified times.
"""

import abc
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
from jax.scipy.special import ndtri

from score_sde import checks
from score_sde.precision import wide
from score_sde.sdes import SDE
from score_sde.typing import Scalar, ScalarLike


class Time(NamedTuple):
    """A time, and the weight of the loss there: 1, or the uniform density divided by
    the density of the time.
    """

    t: Scalar
    weight: Scalar


class TimeSampling(abc.ABC):
    """A distribution of times; its members are frozen values."""

    @abc.abstractmethod
    def __call__(self, u: ScalarLike, sde: SDE) -> Time:
        """The time at the quantile ``u`` in [0, 1)."""

    @abc.abstractmethod
    def first(self, sde: SDE) -> float:
        """The smallest time that is drawn."""

    def check(self, sde: SDE) -> None:
        """Raise ``ValueError`` where the first time is not before the SDE's last."""
        checks.require(
            self.first(sde) < sde.t_max,
            f"objective.time_sampling.t_min={self.first(sde)} must be less than "
            f"sde.t_max={sde.t_max}",
        )


@dataclass(frozen=True, kw_only=True)
class _FromTMin(TimeSampling):
    """Times from ``t_min`` on, which is smaller than the SDE's own ``t_min``: training
    comes nearer to the data than sampling.
    """

    t_min: float = 1e-5

    def __post_init__(self) -> None:
        checks.positive(t_min=self.t_min, because="since the score is infinite at t = 0")

    def first(self, sde: SDE) -> float:
        """``t_min``."""
        del sde
        return self.t_min


@dataclass(frozen=True, kw_only=True)
class UniformTime(_FromTMin):
    """``t ~ U[t_min, t_max]``."""

    def __call__(self, u: ScalarLike, sde: SDE) -> Time:
        """``t_min + u (t_max - t_min)``."""
        t = self.t_min + wide(u, "u") * (sde.t_max - self.t_min)
        return Time(t, jnp.ones_like(t))


@dataclass(frozen=True, kw_only=True)
class ImportanceSampling(_FromTMin):
    """The density of ``t`` is proportional to ``g(t)^2 / sigma(t)^2`` (Song, Durkan et
    al. 2021, section 5.1).

    The expectation is as with uniform times; with the likelihood weighting its variance
    is lower. Since ``g^2 / sigma^2 = -d log_snr / dt`` for every linear SDE,
    ``log_snr`` is uniform from ``log_snr(t_max)`` to ``log_snr(t_min)``, and
    `SDE.time_at` inverts it. The weight is ``(log_snr(t_min) - log_snr(t_max)) / (t_max
    - t_min) sigma^2 / g^2``.

    >>> import score_sde as ss
    >>> t, weight = ss.ImportanceSampling(t_min=0.25)(0.5, ss.EDMSDE())
    >>> round(float(t), 3), round(float(weight), 3)
    (0.5, 0.924)
    """

    def __call__(self, u: ScalarLike, sde: SDE) -> Time:
        """The time at ``(1 - u) log_snr(t_min) + u log_snr(t_max)``."""
        u = wide(u, "u")
        start, end = sde.log_snr(self.t_min), sde.log_snr(sde.t_max)
        t = jnp.clip(sde.time_at(start + u * (end - start)), self.t_min, sde.t_max)
        rate = (start - end) / (sde.t_max - self.t_min)
        return Time(t, rate * jnp.square(sde.marginal(t).sigma / sde.diffusion(t)))


@dataclass(frozen=True, kw_only=True)
class LogNormalNoise(_FromTMin):
    """``log(sigma / alpha) ~ N(mean, std^2)``, clipped to ``[t_min, t_max]`` (Karras et
    al. 2022, table 1).

    The distribution is part of the objective: no weight corrects for it.
    """

    mean: float = -1.2
    std: float = 1.2

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.positive(std=self.std)

    def __call__(self, u: ScalarLike, sde: SDE) -> Time:
        """The time at ``log_snr = -2 (mean + std ndtri(u))``."""
        t = jnp.clip(
            sde.time_at(-2.0 * (self.mean + self.std * ndtri(wide(u, "u")))), self.t_min, sde.t_max
        )
        return Time(t, jnp.ones_like(t))


@dataclass(frozen=True, kw_only=True)
class DiscreteTime(TimeSampling):
    """``t_i = t_max i / (num_scales - 1)``, the levels of a discrete model, with equal
    probability (Song et al. 2021, appendix C).
    """

    num_scales: int = 1000

    def __post_init__(self) -> None:
        checks.at_least(2, num_scales=self.num_scales)

    def __call__(self, u: ScalarLike, sde: SDE) -> Time:
        """The level ``i = floor(u num_scales)``."""
        level = jnp.clip(jnp.floor(wide(u, "u") * self.num_scales), 0, self.num_scales - 1)
        return Time(sde.t_max * (level / (self.num_scales - 1)), jnp.ones_like(level))

    def first(self, sde: SDE) -> float:
        """Zero."""
        del sde
        return 0.0


@dataclass(frozen=True, kw_only=True)
class FixedTime(TimeSampling):
    """One time ``t``; 0 is the data without noise, for an objective that needs none."""

    t: float = 1e-3

    def __post_init__(self) -> None:
        checks.not_negative(t=self.t)

    def __call__(self, u: ScalarLike, sde: SDE) -> Time:
        """``t``."""
        del sde
        u = wide(u, "u")
        return Time(jnp.full_like(u, self.t), jnp.ones_like(u))

    def first(self, sde: SDE) -> float:
        """``t``."""
        del sde
        return self.t

    def check(self, sde: SDE) -> None:
        """Raise ``ValueError`` where ``t`` is after the SDE's end."""
        checks.require(
            self.t <= sde.t_max,
            f"objective.time_sampling.t={self.t} must be at most sde.t_max={sde.t_max}",
        )
