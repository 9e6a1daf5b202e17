"""Probabilities of intervals under the normal distribution."""

import jax.numpy as jnp
from jax.scipy.special import log_ndtr
from jax.scipy.stats import norm
from jaxtyping import Array, Float


def log_interval_probability(
    lower: Float[Array, "*shape"], upper: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """``log(Phi(upper) - Phi(lower))`` of a standard normal for ``lower < upper``, of
    which one may be infinite.

    Stable in both tails and for narrow intervals, with finite derivatives.
    """
    # Phi is near 1 on the right, where nothing would be left of the difference.
    right = lower + upper > 0.0
    low, high = jnp.where(right, -upper, lower), jnp.where(right, -lower, upper)
    is_open = jnp.isneginf(low)
    low = jnp.where(is_open, high - 1.0, low)
    width, middle = high - low, 0.5 * (low + high)
    narrow = width * jnp.maximum(1.0, jnp.abs(middle)) < 0.05
    log_high = log_ndtr(high)
    log_ratio = log_ndtr(low) - log_high
    by_difference = log_high + jnp.log(-jnp.expm1(jnp.where(narrow, -1.0, log_ratio)))
    # To the second order in the width: the fourth is below 1e-8 here.
    by_density = (
        norm.logpdf(middle) + jnp.log(width) + (jnp.square(middle) - 1.0) * jnp.square(width) / 24.0
    )
    return jnp.where(is_open, log_high, jnp.where(narrow, by_density, by_difference))
