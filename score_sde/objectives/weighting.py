"""Weightings ``lambda(t)`` of the denoising score-matching loss over time."""

from collections.abc import Callable
from typing import TypeAlias

import jax.numpy as jnp

from score_sde.sdes.base import SDE
from score_sde.typing import Scalar, ScalarLike

Weighting: TypeAlias = Callable[[SDE, ScalarLike], Scalar]
"""``(sde, t) -> lambda(t)``, the weight of ``|score - grad log p(x_t | x_0)|^2``."""


def variance(sde: SDE, t: ScalarLike) -> Scalar:
    """``sigma(t)^2``: every noise level has a loss of the same size (Song et al. 2021, section 3.3)."""
    return jnp.square(sde.marginal(t).sigma)


def likelihood(sde: SDE, t: ScalarLike) -> Scalar:
    """``g(t)^2``: the loss bounds the negative log-likelihood (Song, Durkan et al. 2021, theorem 1)."""
    return jnp.square(sde.diffusion(t))
