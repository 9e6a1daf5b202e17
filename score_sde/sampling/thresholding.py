"""Thresholding: keeping the denoised image in the range of the data (Saharia et al.
2022, section 2.3).
"""

import abc
from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Shaped

from score_sde.precision import as_state, wide, wide_time
from score_sde.sdes import SDE, denoise
from score_sde.typing import ScalarLike, ScoreFn


class Threshold(abc.ABC):
    """A map from denoised images into the range of the data."""

    @abc.abstractmethod
    def __call__(self, denoised: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The image, in range."""


@dataclass(frozen=True, kw_only=True)
class StaticThreshold(Threshold):
    """Every number cut to ``[low, high]``."""

    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low={self.low} must be less than high={self.high}")

    def __call__(self, denoised: Shaped[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
        """``clip(D, low, high)``."""
        return as_state(jnp.clip(wide(denoised, "denoised"), self.low, self.high), denoised)


@dataclass(frozen=True, kw_only=True)
class DynamicThreshold(Threshold):
    """Cut at a quantile ``q`` of the image's own ``|D|``, where that exceeds ``limit``,
    and scaled by ``limit / q``.

    For data centred on zero.
    """

    quantile: float = 0.995
    limit: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.quantile < 1.0:
            raise ValueError(f"quantile={self.quantile} must lie between 0 and 1")
        if not self.limit > 0.0:
            raise ValueError(f"limit={self.limit} must be positive")

    def __call__(self, denoised: Shaped[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
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

    def __call__(self, x: Shaped[ArrayLike, "*shape"], t: ScalarLike) -> Float[Array, "*shape"]:
        """``(alpha threshold(D) - x) / sigma^2``."""
        x, t = wide(x), wide_time(t)
        alpha, sigma = self.sde.marginal(t)
        return (alpha * self.threshold(denoise(self.sde, self.score_fn, x, t)) - x) / jnp.square(
            sigma
        )


@dataclass(frozen=True, eq=False)
class ThresholdedImage(ThresholdedScore):
    """A `ThresholdedScore` that gives its denoised image too, without a detour over the score."""

    image: Callable[..., Array]

    def denoised(self, x: Shaped[ArrayLike, "*shape"], t: ScalarLike) -> Float[Array, "*shape"]:
        """``threshold(D)``."""
        return self.threshold(self.image(x, t))


def thresholded(sde: SDE, score_fn: ScoreFn, threshold: Threshold) -> ScoreFn:
    """The score whose denoised image is that of ``score_fn`` after ``threshold``:
    ``(alpha D - x) / sigma^2``.

    It has a method ``denoised`` where ``score_fn`` has one.
    """
    image = getattr(score_fn, "denoised", None)
    if image is None:
        return ThresholdedScore(sde, score_fn, threshold)
    return ThresholdedImage(sde, score_fn, threshold, image)
