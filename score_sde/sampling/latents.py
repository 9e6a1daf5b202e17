"""Interpolation and temperature in the latent space of the probability-flow ODE.

`encode` takes an example to its latent and `decode` takes it back, so that an example
is edited by its latent (Song et al. 2021, section 4.3 and appendix D.4).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from score_sde import checks
from score_sde.precision import as_state, real, wide, wide_time
from score_sde.sdes import SDE
from score_sde.typing import SampleLike, Scalar, ScalarLike

_ANTIPODAL = 1e-3
"""An angle this near to pi counts as pi: nearer, float32 keeps less than four digits of
the direction of the great circle.
"""


def slerp(a: SampleLike, b: SampleLike, weight: ScalarLike) -> Float[Array, "*shape"]:
    """Spherical linear interpolation from ``a`` (``weight=0``) to ``b`` (``weight=1``),
    over all dimensions together.

    ``sin((1 - w) theta) / sin(theta) a + sin(w theta) / sin(theta) b``, where ``theta``
    is the angle between ``a`` and ``b`` (White 2016, section 2.1). Between vectors of
    equal norm it is the great circle, so that latents keep the norm that the prior
    gives them in high dimension; the midpoint of a straight line would be shorter by
    ``sqrt(2)``.

    Both ends are exact. For parallel vectors, and where one is zero, the result is
    linear interpolation, the limit of the formula. Opposite vectors have no unique
    great circle between them: within 1e-3 of the angle pi it is linear interpolation
    too, which passes through zero. Gradients are finite everywhere. Half precision is
    computed in float32.

    >>> import jax.numpy as jnp, score_sde as ss
    >>> ss.slerp(jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0]), 0.5).round(3)
    Array([0.707, 0.707], dtype=float32)

    Args:
        a: the latent at weight 0.
        b: the latent at weight 1.
        weight: the fraction of the angle; beyond ``[0, 1]`` it extrapolates along the
            circle.
    """
    dtype = jnp.result_type(real(a, "a"), real(b, "b"))
    a, b, weight = wide(a, "a"), wide(b, "b"), wide_time(weight, "weight")
    angle = _angle(a, b)
    angle = jnp.where(angle > jnp.pi - _ANTIPODAL, 0.0, angle)

    def share(w: ScalarLike) -> Scalar:
        # sin(w theta) / sin(theta), by functions that are smooth where theta is 0.
        return w * jnp.sinc(w * angle / jnp.pi) / jnp.sinc(angle / jnp.pi)

    return (share(1.0 - weight) * a + share(weight) * b).astype(dtype)


def with_temperature(latent: SampleLike, temperature: float) -> Float[Array, "*shape"]:
    """``temperature * latent``: a temperature below 1 moves latents towards the mean of
    the prior (Song et al. 2021, appendix D.4).

    Decoded samples are then more typical and less varied, as in flows (Kingma &
    Dhariwal 2018, section 6).

    Raises:
        ValueError: ``temperature`` is not positive and finite.
    """
    checks.positive(temperature=temperature)
    return as_state(temperature * wide(latent, "latent"), latent)


def mean_square(sde: SDE, latent: SampleLike) -> Scalar:
    """The mean square of a latent in units of the prior, ``mean(z^2) / prior_std^2``; its
    mean under the prior is 1.
    """
    return jnp.mean(jnp.square(wide(latent, "latent") / sde.prior_std()))


def _angle(a: Float[Array, "*shape"], b: Float[Array, "*shape"]) -> Scalar:
    """The angle between two vectors, from 0 to pi; 0 where one is zero.

    ``2 atan2(|u - v|, |u + v|)`` of unit vectors, exact near 0 and pi where ``arccos``
    loses half the digits.
    """
    norms = _norm(a), _norm(b)
    u, v = (x / jnp.where(norm > 0.0, norm, 1.0) for x, norm in zip((a, b), norms, strict=True))
    angle = 2.0 * jnp.arctan2(_norm(u - v), _norm(u + v))
    return jnp.where((norms[0] > 0.0) & (norms[1] > 0.0), angle, 0.0)


def _norm(x: Float[Array, "*shape"]) -> Scalar:
    """The Euclidean norm over all dimensions, with gradient 0 at 0."""
    square = jnp.sum(jnp.square(x))
    return jnp.where(square > 0.0, jnp.sqrt(jnp.where(square > 0.0, square, 1.0)), 0.0)
