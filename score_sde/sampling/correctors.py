"""Correctors: steps of Langevin dynamics at one noise level, which leave ``p_t`` where it is.

A step is ``x + eps score + sqrt(2 eps) z`` with ``eps = 2 (a snr r)^2``, where ``r`` is
a ratio of noise to score and ``a^2`` the squared signal scale of one step of the grid:
1 for VE and ``1 - beta_i`` for VP as in the paper, and for every SDE ``(alpha(t) /
alpha(t_next))^2`` (Song et al. 2021, algorithms 4 and 5).
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from score_sde.precision import keeps_type
from score_sde.sdes import SDE
from score_sde.typing import Key, ScalarLike, ScoreFn

Corrector: TypeAlias = Callable[..., Float[Array, "*shape"]]
"""``(key, sde, score_fn, x, t, t_next, *, snr, axis_name) -> x`` at the same ``t``, for
one evaluation of the score.
"""


@keeps_type
def langevin(
    key: Key,
    sde: SDE,
    score_fn: ScoreFn,
    x: Float[Array, "*shape"],
    t: ScalarLike,
    t_next: ScalarLike,
    *,
    snr: float,
    axis_name: str | None = None,
) -> Float[Array, "*shape"]:
    """``r = |z| / |score|``, the norms of the sample itself (Song et al. 2021, algorithms 4 and 5).

    With ``axis_name``, a ``vmap``, ``pmap`` or ``shard_map`` axis, ``r`` is the ratio
    of the mean norms over the axis, as in the published code; a sample then depends on
    its batch. The step depends on ``x``, and so does not keep ``p_t`` exactly: it
    matters little for images, whose norms hardly vary, much in a few dimensions, where
    `annealed_langevin` is right.
    """
    score, noise = score_fn(x, t), jax.random.normal(key, x.shape, x.dtype)
    norms = jnp.stack([jnp.linalg.norm(jnp.ravel(noise)), jnp.linalg.norm(jnp.ravel(score))])
    noise_norm, score_norm = norms if axis_name is None else jax.lax.pmean(norms, axis_name)
    # Where the score is zero there is no direction to correct in: no step, rather than
    # an infinite one.
    ratio = jnp.where(
        score_norm > 0.0, noise_norm / jnp.where(score_norm > 0.0, score_norm, 1.0), 0.0
    )
    return _step(x, score, noise, sde.transition(t_next, t).alpha * snr * ratio)


@keeps_type
def annealed_langevin(
    key: Key,
    sde: SDE,
    score_fn: ScoreFn,
    x: Float[Array, "*shape"],
    t: ScalarLike,
    t_next: ScalarLike,
    *,
    snr: float,
    axis_name: str | None = None,
) -> Float[Array, "*shape"]:
    """``r = sigma(t)``, as in annealed Langevin dynamics (Song & Ermon 2019, algorithm 1).

    It is the ratio of the expected norms for data that fills few of its dimensions.
    ``axis_name`` is not used.
    """
    del axis_name
    score, noise = score_fn(x, t), jax.random.normal(key, x.shape, x.dtype)
    return _step(x, score, noise, sde.transition(t_next, t).alpha * snr * sde.marginal(t).sigma)


@keeps_type
def no_corrector(
    key: Key,
    sde: SDE,
    score_fn: ScoreFn,
    x: Float[Array, "*shape"],
    t: ScalarLike,
    t_next: ScalarLike,
    *,
    snr: float,
    axis_name: str | None = None,
) -> Float[Array, "*shape"]:
    """``x``, for no evaluation."""
    del key, sde, score_fn, t, t_next, snr, axis_name
    return x


def _step(
    x: Float[Array, "*shape"],
    score: Float[Array, "*shape"],
    noise: Float[Array, "*shape"],
    size: ScalarLike,
) -> Float[Array, "*shape"]:
    """``x + eps score + sqrt(2 eps) z`` with ``eps = 2 size^2``."""
    return x + 2.0 * jnp.square(size) * score + 2.0 * size * noise
