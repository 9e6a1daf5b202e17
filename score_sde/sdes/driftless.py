"""SDEs that only add noise, ``dx = g(t) dw``."""

import abc
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from score_sde.precision import wide
from score_sde.sdes.base import SDE, Marginal
from score_sde.typing import SampleLike, Scalar, ScalarLike


@dataclass(frozen=True, kw_only=True)
class DriftlessSDE(SDE):
    """``dx = g(t) dw``, so that ``p(x_t | x_0) = N(x_0, sigma(t)^2 I)``.

    The prior neglects the spread of the data beside ``sigma(t_max)``.
    """

    @abc.abstractmethod
    def sigma(self, t: ScalarLike) -> Scalar:
        """The standard deviation of the noise at time ``t``."""

    def drift(self, x: SampleLike, t: ScalarLike) -> Float[Array, "*shape"]:
        """Zero."""
        del t
        return jnp.zeros_like(wide(x))

    def marginal(self, t: ScalarLike) -> Marginal:
        """``(1, sigma(t))``."""
        sigma = self.sigma(t)
        return Marginal(jnp.ones_like(sigma), sigma)
