"""How training draws its times: monotone maps from ``u ~ U[0, 1)``, so that even ``u``
give even times.
"""

import abc
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
from jax.scipy.special import ndtri

from score_sde.precision import wide
from score_sde.sdes import SDE
from score_sde.typing import Scalar, ScalarLike


class Time(NamedTuple):
    """A time, and what the loss there counts: 1, or the uniform density over that of the time."""

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
        """Raise ``ValueError`` where the times are not those of the SDE."""
        if not self.first(sde) < sde.t_max:
            raise ValueError(
                f"objective.time_sampling.t_min={self.first(sde)} must be less than "
                f"sde.t_max={sde.t_max}"
            )


@dataclass(frozen=True, kw_only=True)
class _From(TimeSampling):
    """One that begins at ``t_min``. Training goes nearer to the data than sampling: it
    is not the SDE's own.
    """

    t_min: float = 1e-5

    def __post_init__(self) -> None:
        if not self.t_min > 0.0:
            raise ValueError(f"t_min={self.t_min} must be positive: the score is infinite at t = 0")

    def first(self, sde: SDE) -> float:
        """``t_min``."""
        del sde
        return self.t_min


@dataclass(frozen=True, kw_only=True)
class UniformTime(_From):
    """``t ~ U[t_min, t_max]``."""

    def __call__(self, u: ScalarLike, sde: SDE) -> Time:
        """``t_min + u (t_max - t_min)``."""
        t = self.t_min + wide(u, "u") * (sde.t_max - self.t_min)
        return Time(t, jnp.ones_like(t))


@dataclass(frozen=True, kw_only=True)
class ImportanceSampling(_From):
    """``t ~ g(t)^2 / sigma(t)^2``, the same objective as with uniform times, with less
    noise if weighted by likelihood.

    Song, Durkan et al. 2021 (section 3.3) invert the distribution by bisection for each
    SDE. Since ``g^2 / sigma^2 = -d log_snr / dt`` for every linear SDE, it is ``log_snr
    ~ U[log_snr(t_max), log_snr(t_min)]``, and `SDE.time_at` inverts it. The weight is
    ``(log_snr(t_min) - log_snr(t_max)) / (t_max - t_min) sigma^2 / g^2``.
    """

    def __call__(self, u: ScalarLike, sde: SDE) -> Time:
        """The time at ``(1 - u) log_snr(t_min) + u log_snr(t_max)``."""
        u = wide(u, "u")
        start, end = sde.log_snr(self.t_min), sde.log_snr(sde.t_max)
        t = jnp.clip(sde.time_at(start + u * (end - start)), self.t_min, sde.t_max)
        rate = (start - end) / (sde.t_max - self.t_min)
        return Time(t, rate * jnp.square(sde.marginal(t).sigma / sde.diffusion(t)))


@dataclass(frozen=True, kw_only=True)
class LogNormalNoise(_From):
    """``log(sigma / alpha) ~ N(mean, std^2)``, within ``[t_min, t_max]`` (Karras et al.
    2022, table 1).

    It is a part of the objective: the loss has no weight for it.
    """

    mean: float = -1.2
    std: float = 1.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.std > 0.0:
            raise ValueError(f"std={self.std} must be positive")

    def __call__(self, u: ScalarLike, sde: SDE) -> Time:
        """The time at ``log_snr = -2 (mean + std ndtri(u))``."""
        t = jnp.clip(
            sde.time_at(-2.0 * (self.mean + self.std * ndtri(wide(u, "u")))), self.t_min, sde.t_max
        )
        return Time(t, jnp.ones_like(t))


@dataclass(frozen=True, kw_only=True)
class DiscreteTime(TimeSampling):
    """``t_i = t_max i / (num_scales - 1)``, the levels of a discrete model, alike (Song
    et al. 2021, appendix C).
    """

    num_scales: int = 1000

    def __post_init__(self) -> None:
        if self.num_scales < 2:
            raise ValueError(f"num_scales={self.num_scales} must be at least 2")

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
    """One noise level, that of ``t``; 0 for data as they are, where the objective needs
    no noise.
    """

    t: float = 1e-3

    def __post_init__(self) -> None:
        if not self.t >= 0.0:
            raise ValueError(f"t={self.t} must not be negative")

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
        if self.t > sde.t_max:
            raise ValueError(
                f"objective.time_sampling.t={self.t} must be at most sde.t_max={sde.t_max}"
            )
