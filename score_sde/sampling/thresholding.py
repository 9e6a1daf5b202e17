"""Thresholding: the denoised image stays in the range of the data (Saharia et al. 2022,
section 2.3).
"""

import abc
from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from score_sde import checks
from score_sde.precision import as_state, wide, wide_time
from score_sde.sdes import SDE, denoise
from score_sde.typing import SampleLike, ScalarLike, ScoreFn


class Threshold(abc.ABC):
    """A map from denoised images into the range of the data."""

    @abc.abstractmethod
    def __call__(self, denoised: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The image, in range."""


@dataclass(frozen=True, kw_only=True)
class StaticThreshold(Threshold):
    """Every number cut to ``[low, high]``, in the units of the model.

    >>> import jax.numpy as jnp, score_sde as ss
    >>> ss.StaticThreshold()(jnp.array([-2.0, 0.5]))
    Array([-1. ,  0.5], dtype=float32)
    """

    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        checks.increasing(low=self.low, high=self.high)

    def __call__(self, denoised: SampleLike) -> Float[Array, "*shape"]:
        """``clip(D, low, high)``."""
        return as_state(jnp.clip(wide(denoised, "denoised"), self.low, self.high), denoised)


@dataclass(frozen=True, kw_only=True)
class DynamicThreshold(Threshold):
    """Cut at the ``quantile`` ``q`` of ``|D|`` of the image, where ``q`` exceeds
    ``limit``, and scaled by ``limit / q``; for data centred on zero.

    >>> import jax.numpy as jnp, score_sde as ss
    >>> ss.DynamicThreshold(quantile=0.5)(jnp.array([-2.0, 0.5, 4.0]))
    Array([-1.  ,  0.25,  1.  ], dtype=float32)
    """

    quantile: float = 0.995
    limit: float = 1.0

    def __post_init__(self) -> None:
        checks.positive(quantile=self.quantile, limit=self.limit)
        checks.require(self.quantile < 1.0, f"quantile={self.quantile} must be less than 1")

    def __call__(self, denoised: SampleLike) -> Float[Array, "*shape"]:
        """``clip(D, -q, q) limit / q`` with ``q`` at least ``limit``."""
        image = wide(denoised, "denoised")
        q = jnp.maximum(jnp.quantile(jnp.abs(image), self.quantile), self.limit)
        return as_state(jnp.clip(image, -q, q) * (self.limit / q), denoised)


@dataclass(frozen=True, eq=False)
class ThresholdedScore:
    """A score function whose denoised image ``D`` is thresholded."""

    sde: SDE
    score_fn: ScoreFn
    threshold: Threshold

    def __call__(self, x: SampleLike, t: ScalarLike) -> Float[Array, "*shape"]:
        """``(alpha threshold(D) - x) / sigma^2``."""
        x, t = wide(x), wide_time(t)
        alpha, sigma = self.sde.marginal(t)
        return (alpha * self.threshold(denoise(self.sde, self.score_fn, x, t)) - x) / jnp.square(
            sigma
        )


@dataclass(frozen=True, eq=False)
class ThresholdedImage(ThresholdedScore):
    """A `ThresholdedScore` whose denoised image comes from ``score_fn.denoised``, not from
    the score.
    """

    image: Callable[..., Array]

    def denoised(self, x: SampleLike, t: ScalarLike) -> Float[Array, "*shape"]:
        """``threshold(D)``."""
        return self.threshold(self.image(x, t))


def thresholded(sde: SDE, score_fn: ScoreFn, threshold: Threshold) -> ScoreFn:
    """The score ``(alpha D - x) / sigma^2``, with ``D`` the denoised image of ``score_fn``
    after ``threshold``.

    It has a method ``denoised`` where ``score_fn`` has one.

    >>> import jax.numpy as jnp, score_sde as ss
    >>> score_fn = ss.thresholded(ss.VESDE(), lambda x, t: 0.0 * x, ss.StaticThreshold())
    >>> ss.denoise(ss.VESDE(), score_fn, jnp.array([3.0]), 0.5).round(3)
    Array([1.], dtype=float32)
    """
    image = getattr(score_fn, "denoised", None)
    if image is None:
        return ThresholdedScore(sde, score_fn, threshold)
    return ThresholdedImage(sde, score_fn, threshold, image)
