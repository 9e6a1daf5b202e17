"""Normalisation of each channel of each image ``[b, h, w, c]`` by its own statistics,
for the NCSN networks.

With the mean ``m`` and variance ``v`` of a channel of one image over its pixels, every
layer here is one affine map per channel, ``y = a x + c``. Plain instance normalisation
removes ``m``, and with it the colours of the image; InstanceNorm++ adds back ``m``
standardised over the channels (Song & Ermon 2019, https://arxiv.org/abs/1907.05600,
appendix A.1). Statistics are float32 at least. Some variances are unbiased (divided by
``n - 1``), as in the published checkpoints.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Shaped

from score_sde.models.layers import GroupNorm
from score_sde.typing import Key

EPSILON = 1e-5
"""Added to each variance."""


def _near_one(
    key: Key, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32
) -> Shaped[Array, "..."]:
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)


def _wide(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _moments(x: Float[Array, "b h w c"]) -> tuple[Float[Array, "b c"], Float[Array, "b c"]]:
    """The mean and variance of each channel over the pixels."""
    wide = _wide(x)
    # Two passes: where the mean of a channel is much larger than its standard deviation,
    # E[x^2] - m^2 loses all digits.
    return jnp.mean(wide, axis=(1, 2)), jnp.var(wide, axis=(1, 2))


def _affine(
    x: Float[Array, "b h w c"], a: Float[Array, "b c"], c: Float[Array, "b c"], dtype: DTypeLike
) -> Float[Array, "b h w c"]:
    return (_wide(x) * a[:, None, None, :] + c[:, None, None, :]).astype(dtype)


def _plus(
    x: Float[Array, "b h w c"],
    gamma: Float[Array, "*b c"],
    alpha: Float[Array, "*b c"],
    beta: Float[Array, "*b c"],
    dtype: DTypeLike,
) -> Float[Array, "b h w c"]:
    """``gamma ((x - m) / sqrt(v + e) + alpha (m - mean m) / sqrt(var m + e)) + beta``."""
    mean, variance = _moments(x)
    unbiased = mean.shape[-1] / max(mean.shape[-1] - 1, 1)
    spread = unbiased * jnp.var(mean, axis=-1, keepdims=True)
    colour = (mean - jnp.mean(mean, axis=-1, keepdims=True)) * jax.lax.rsqrt(spread + EPSILON)
    a = gamma * jax.lax.rsqrt(variance + EPSILON)
    return _affine(x, a, gamma * alpha * colour + beta - a * mean, dtype)


class InstanceNorm(nn.Module):
    """``scale (x - m) / sqrt(v + e) + bias`` (Ulyanov et al. 2016,
    https://arxiv.org/abs/1607.08022).
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Normalise ``x``."""
        scale = self.param("scale", nn.initializers.ones_init(), (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros_init(), (x.shape[-1],))
        mean, variance = _moments(x)
        a = scale[None] * jax.lax.rsqrt(variance + EPSILON)
        return _affine(x, a, bias[None] - a * mean, self.dtype)


class VarianceNorm(nn.Module):
    """``scale x / sqrt(v + e)`` with ``v`` unbiased: the mean stays (Song & Ermon
    2020).
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Normalise ``x``."""
        scale = self.param("scale", _near_one, (x.shape[-1],))
        pixels = x.shape[1] * x.shape[2]
        variance = _moments(x)[1] * (pixels / max(pixels - 1, 1))
        a = scale[None] * jax.lax.rsqrt(variance + EPSILON)
        return _affine(x, a, jnp.zeros_like(a), self.dtype)


class InstanceNormPlus(nn.Module):
    """InstanceNorm++: ``gamma ((x - m) / sqrt(v + e) + alpha m') + beta``.

    ``m'`` is ``m`` standardised over the channels, with an unbiased variance.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Normalise ``x``."""
        shape = (x.shape[-1],)
        gamma = self.param("gamma", _near_one, shape)
        alpha = self.param("alpha", _near_one, shape)
        beta = self.param("beta", nn.initializers.zeros_init(), shape)
        return _plus(x, gamma[None], alpha[None], beta[None], self.dtype)


class ConditionalInstanceNormPlus(nn.Module):
    """InstanceNorm++ with ``gamma``, ``alpha`` and ``beta`` of its own for each of
    ``num_scales`` noise levels.

    The parameter ``table [num_scales, 3 c]`` holds the three side by side. A level
    outside the table gives NaN.
    """

    num_scales: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], level: Int[Array, " b"]
    ) -> Float[Array, "b h w c"]:
        """Normalise ``x``, each image by the parameters of its noise level."""
        channels = x.shape[-1]

        def init(key: Key, shape: tuple[int, int]) -> Float[Array, "n c3"]:
            return _near_one(key, shape).at[:, 2 * channels :].set(0)

        table = self.param("table", init, (self.num_scales, 3 * channels))
        rows = table.at[level].get(mode="fill", fill_value=jnp.nan)
        gamma, alpha, beta = jnp.split(rows, 3, axis=-1)
        return _plus(x, gamma, alpha, beta, self.dtype)


NORMALIZATIONS: dict[str, Callable[..., nn.Module]] = {
    "InstanceNorm++": InstanceNormPlus,
    "InstanceNorm": InstanceNorm,
    "VarianceNorm": VarianceNorm,
    "GroupNorm": GroupNorm,
}
"""The normalisations that do not depend on the noise level, by name."""
