"""Continuous denoising score matching."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from score_sde.objectives.time_sampling import UniformTime
from score_sde.objectives.weighting import Weighting, variance
from score_sde.sdes.base import SDE, perturb
from score_sde.typing import Key, Scalar, ScalarLike, ScoreFn


@dataclass(frozen=True, kw_only=True)
class DenoisingScoreMatching:
    """``E_t lambda(t) |s(x_t, t) - grad log p(x_t | x_0)|^2`` (Vincent 2011; Song et al. 2021, eq. 7).

    The target is ``-eps / sigma`` for ``x_t = alpha x_0 + sigma eps``. ``reduce`` is ``mean`` over the dimensions, or
    ``half_sum``: half of their sum, which with the likelihood weighting is in nats.
    """

    weighting: Weighting = variance
    reduce: Literal["mean", "half_sum"] = "mean"
    time_sampling: UniformTime = UniformTime()  # noqa: RUF009 - a frozen value

    def __post_init__(self) -> None:
        if self.reduce not in ("mean", "half_sum"):
            raise ValueError(f"unknown reduce {self.reduce!r}: choose mean or half_sum")

    def __call__(self, key: Key, sde: SDE, score_fn: ScoreFn, x0: Float[Array, "*shape"]) -> Scalar:
        """The loss of one example, at one time and with one noise drawn from ``key``."""
        time_key, noise_key = jax.random.split(key)
        t = self.time_sampling(time_key, sde)
        return self.at_time(noise_key, sde, score_fn, x0, t)

    def at_time(self, key: Key, sde: SDE, score_fn: ScoreFn, x0: Float[Array, "*shape"], t: ScalarLike) -> Scalar:
        """The loss of one example at the time ``t``."""
        noise = jax.random.normal(key, x0.shape, x0.dtype)
        sigma = sde.marginal(t).sigma
        # sigma (score - target), of the size of one: the plain difference overflows half precision at small sigma.
        residual = sigma * score_fn(perturb(sde, x0, t, noise), t) + noise
        squares = jnp.square(residual)
        size = jnp.mean(squares) if self.reduce == "mean" else 0.5 * jnp.sum(squares)
        return self.weighting(sde, t) / jnp.square(sigma) * size
