"""The reverse SDE and the probability-flow ODE as one family.

All members, run backwards in time, share the marginals ``p_t`` of the forward SDE (Song
et al. 2021, eqs. 6 and 13; Huang et al. 2021)::

    dx = [f(x, t) - (1 + lambda^2) / 2 g(t)^2 grad log p_t(x)] dt + lambda g(t) dw

``lambda``, the argument ``noise_scale``, is 1 for the reverse SDE and 0 for the
probability-flow ODE.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from score_sde.precision import as_state, wide, wide_score, wide_time
from score_sde.sdes.base import SDE
from score_sde.typing import SampleLike, Scalar, ScalarLike, ScoreFn, VectorField


def reverse_drift(sde: SDE, score_fn: ScoreFn, *, noise_scale: float = 1.0) -> VectorField:
    """The drift ``(x, t) -> f - (1 + noise_scale^2) / 2 g^2 score`` of one sample.

    ``score_fn`` is ``(x, t) -> grad_x log p_t(x)``. The drift has the shape of ``x``.

    >>> import score_sde as ss
    >>> drift = ss.reverse_drift(ss.BrownianMotion(), lambda x, t: -x)
    >>> drift(0.5, 1.0)
    Array(0.5, dtype=float32...)
    """
    weight, score_fn = 0.5 * (1.0 + noise_scale**2), wide_score(score_fn)

    def drift(x: SampleLike, t: ScalarLike) -> Float[Array, "*shape"]:
        x, t = wide(x), wide_time(t)
        return sde.drift(x, t) - weight * jnp.square(sde.diffusion(t)) * score_fn(x, t)

    return drift


def reverse_diffusion(sde: SDE, *, noise_scale: float = 1.0) -> Callable[[ScalarLike], Scalar]:
    """The diffusion coefficient ``t -> noise_scale g(t)``.

    >>> import score_sde as ss
    >>> ss.reverse_diffusion(ss.BrownianMotion(), noise_scale=0.5)(1.0)
    Array(0.5, dtype=float32...)
    """
    return lambda t: noise_scale * sde.diffusion(wide_time(t))


def probability_flow(sde: SDE, score_fn: ScoreFn) -> VectorField:
    """The velocity ``(x, t) -> f - 1/2 g^2 score`` of the ODE that shares every
    marginal with the SDE (Song et al. 2021, eq. 13).

    >>> import score_sde as ss
    >>> velocity = ss.probability_flow(ss.BrownianMotion(), lambda x, t: -x)
    >>> velocity(0.5, 1.0)
    Array(0.25, dtype=float32...)
    """
    return reverse_drift(sde, score_fn, noise_scale=0.0)


def denoise(sde: SDE, score_fn: ScoreFn, x: SampleLike, t: ScalarLike) -> Float[Array, "*shape"]:
    """Tweedie's formula: the posterior mean ``E[x_0 | x_t] = (x_t + sigma^2 score) /
    alpha`` of one sample, in the type of ``x``.

    >>> import score_sde as ss
    >>> ss.denoise(ss.BrownianMotion(), lambda x, t: -x / 2.0, 3.0, 1.0)
    Array(1.5, dtype=float32...)
    """
    state, t = wide(x), wide_time(t)
    alpha, sigma = sde.marginal(t)
    return as_state((state + jnp.square(sigma) * wide_score(score_fn)(state, t)) / alpha, x)
