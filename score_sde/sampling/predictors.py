"""Predictors: one step of the reverse process from ``t`` to ``t_next < t``.

``noise_scale`` is the ``lambda`` of the reverse family: 1 for the reverse SDE, 0 for
the probability-flow ODE.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from score_sde.precision import keeps_type
from score_sde.sdes import SDE, reverse_diffusion, reverse_drift
from score_sde.typing import Key, ScalarLike, ScoreFn

Predictor: TypeAlias = Callable[..., Float[Array, "*shape"]]
"""``(key, sde, score_fn, x, t, t_next, *, noise_scale) -> x at t_next``, for one
evaluation of the score.
"""


@keeps_type
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
    """Euler-Maruyama on the reverse SDE: ``x - drift dt + lambda g sqrt(dt) z`` with
    ``dt = t - t_next``.
    """
    dt = t - t_next
    noise = jax.random.normal(key, x.shape, x.dtype)
    drift = reverse_drift(sde, score_fn, noise_scale=noise_scale)(x, t)
    return (
        x - drift * dt + reverse_diffusion(sde, noise_scale=noise_scale)(t) * jnp.sqrt(dt) * noise
    )


@keeps_type
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
    """The reverse diffusion predictor ``(2 - a) x + (1 + lambda^2) / 2 v score + lambda
    sqrt(v) z``.

    It discretises the reverse SDE as the forward one is: ``x_t = a x_next + sqrt(v)
    z``, with ``(a, sqrt(v))`` the exact transition. For VP that is DDPM's ``a = sqrt(1
    - beta_i)``, for VE ``v = sigma_i^2 - sigma_{i-1}^2`` (Song et al. 2021, eq. 46,
    algorithms 2 and 3); the same rule serves every SDE.
    """
    scale, std = sde.transition(t_next, t)
    noise = jax.random.normal(key, x.shape, x.dtype)
    weight = 0.5 * (1.0 + noise_scale**2)
    return (2.0 - scale) * x + weight * jnp.square(std) * score_fn(x, t) + noise_scale * std * noise


@keeps_type
def ancestral(
    key: Key,
    sde: SDE,
    score_fn: ScoreFn,
    x: Float[Array, "*shape"],
    t: ScalarLike,
    t_next: ScalarLike,
    *,
    noise_scale: float = 1.0,
) -> Float[Array, "*shape"]:
    """Ancestral sampling with the variance of the posterior, ``(x + v score) / a +
    sqrt(v) sigma_next / sigma z``.

    With the exact transition ``x_t = a x_next + sqrt(v) z``, it draws from ``p(x_next |
    x_t, x_0)`` at the denoised ``x_0``: for VE the predictor of Song et al. 2021
    (equation 47), for VP DDPM's smaller choice of variance (Ho et al. 2020, equations 7
    and 11, 'fixedsmall').
    """
    shrink = sde.marginal(t_next).sigma / sde.marginal(t).sigma
    return _ancestral(key, sde, score_fn, x, t, t_next, noise_scale, shrink)


@keeps_type
def ancestral_large(
    key: Key,
    sde: SDE,
    score_fn: ScoreFn,
    x: Float[Array, "*shape"],
    t: ScalarLike,
    t_next: ScalarLike,
    *,
    noise_scale: float = 1.0,
) -> Float[Array, "*shape"]:
    """Ancestral sampling with the variance of the transition, ``(x + v score) / a + sqrt(v) z``.

    For VP that is ``beta_i`` (Ho et al. 2020, section 3.2, 'fixedlarge'), as the
    published VP samples were drawn.
    """
    return _ancestral(key, sde, score_fn, x, t, t_next, noise_scale, 1.0)


def _ancestral(
    key: Key,
    sde: SDE,
    score_fn: ScoreFn,
    x: Float[Array, "*shape"],
    t: ScalarLike,
    t_next: ScalarLike,
    noise_scale: float,
    shrink: ScalarLike,
) -> Float[Array, "*shape"]:
    scale, std = sde.transition(t_next, t)
    noise = jax.random.normal(key, x.shape, x.dtype)
    weight = 0.5 * (1.0 + noise_scale**2)
    return (
        x + weight * jnp.square(std) * score_fn(x, t)
    ) / scale + noise_scale * shrink * std * noise


@keeps_type
def no_predictor(
    key: Key,
    sde: SDE,
    score_fn: ScoreFn,
    x: Float[Array, "*shape"],
    t: ScalarLike,
    t_next: ScalarLike,
    *,
    noise_scale: float = 1.0,
) -> Float[Array, "*shape"]:
    """``x``, for no evaluation: the corrector alone, as in NCSN."""
    del key, sde, score_fn, t, t_next, noise_scale
    return x
