"""Predictors: one step of the reverse process from ``t`` to ``t_next < t``.

``noise_scale`` is the ``lambda`` of the reverse family: 1 for the reverse SDE, 0 for the probability-flow ODE.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from score_sde.reverse import reverse_diffusion, reverse_drift
from score_sde.sdes.base import SDE
from score_sde.typing import Key, ScalarLike, ScoreFn

Predictor: TypeAlias = Callable[..., Float[Array, "*shape"]]
"""``(key, sde, score_fn, x, t, t_next, *, noise_scale) -> x at t_next``, for one evaluation of the score."""


def euler_maruyama(
    key: Key,
    sde: SDE,
    score_fn: ScoreFn,
    x: Float[Array, "*shape"],
    t: ScalarLike,
    t_next: ScalarLike,
    *,
    noise_scale: float = 1.0,
) -> Float[Array, "*shape"]:
    """Euler-Maruyama on the reverse SDE: ``x - drift dt + lambda g sqrt(dt) z`` with ``dt = t - t_next``."""
    dt = t - t_next
    noise = jax.random.normal(key, x.shape, x.dtype)
    drift = reverse_drift(sde, score_fn, noise_scale=noise_scale)(x, t)
    return x - drift * dt + reverse_diffusion(sde, noise_scale=noise_scale)(t) * jnp.sqrt(dt) * noise


def reverse_diffusion_step(
    key: Key,
    sde: SDE,
    score_fn: ScoreFn,
    x: Float[Array, "*shape"],
    t: ScalarLike,
    t_next: ScalarLike,
    *,
    noise_scale: float = 1.0,
) -> Float[Array, "*shape"]:
    """The reverse diffusion predictor ``(2 - a) x + (1 + lambda^2) / 2 v score + lambda sqrt(v) z``.

    It discretises the reverse SDE as the forward one is: ``x_t = a x_next + sqrt(v) z``, with ``(a, sqrt(v))`` the
    exact transition. For VP that is DDPM's ``a = sqrt(1 - beta_i)``, for VE ``v = sigma_i^2 - sigma_{i-1}^2``
    (Song et al. 2021, eq. 46, algorithms 2 and 3); the same rule serves every SDE.
    """
    scale, std = sde.transition(t_next, t)
    noise = jax.random.normal(key, x.shape, x.dtype)
    weight = 0.5 * (1.0 + noise_scale**2)
    return (2.0 - scale) * x + weight * jnp.square(std) * score_fn(x, t) + noise_scale * std * noise
