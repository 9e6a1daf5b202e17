"""Layers of image networks on ``[b, h, w, c]``: normalisation, attention, residual
blocks, resampling.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from score_sde import checks
from score_sde.models.embeddings import ACTIVATIONS


def default_num_groups(channels: int) -> int:
    """The largest divisor of ``channels`` that is at most ``min(channels // 4, 32)``,
    and at least 1.
    """
    limit = max(1, min(channels // 4, 32))
    return next(groups for groups in range(limit, 0, -1) if channels % groups == 0)


def avg_pool(
    x: Float[Array, "b h w c"],
    window: tuple[int, int],
    strides: tuple[int, int] | None = None,
    padding: str = "VALID",
) -> Float[Array, "b h2 w2 c"]:
    """The mean of the pixels of each window, under strict promotion too: flax divides by
    an integer.
    """
    with jax.numpy_dtype_promotion("standard"):
        return nn.avg_pool(x, window, strides, padding)


class GroupNorm(nn.Module):
    """Group normalisation as one affine map per channel, ``y = a x + c``.

    With the mean ``m`` and variance ``v`` of a sample's group of channels, ``a = scale
    / sqrt(v + epsilon)`` and ``c = bias - a m``. The statistics are means per channel,
    then per group, so that the large array is read once for them and once for the map,
    and is never reshaped; they are float32 at least. Channels are the last axis.
    Source: Wu & He 2018 (https://arxiv.org/abs/1803.08494).

    Raises:
        ValueError: ``num_groups`` does not divide the number of channels.
    """

    num_groups: int | None = None
    epsilon: float = 1e-6
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"]) -> Float[Array, "b *space c"]:
        """Normalise ``x``; ``num_groups`` None takes `default_num_groups`."""
        channels = x.shape[-1]
        groups = default_num_groups(channels) if self.num_groups is None else self.num_groups
        if groups < 1 or channels % groups:
            checks.fail("num_groups", groups, f"a divisor of the {channels} channels")
        scale = self.param("scale", nn.initializers.ones_init(), (channels,))
        bias = self.param("bias", nn.initializers.zeros_init(), (channels,))
        space = tuple(range(1, x.ndim - 1))
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        mean = _group_mean(jnp.mean(wide, axis=space), groups)
        variance = jnp.maximum(
            _group_mean(jnp.mean(jnp.square(wide), axis=space), groups) - jnp.square(mean), 0
        )
        a = scale[None] * jax.lax.rsqrt(variance + self.epsilon)
        c = bias[None] - a * mean
        return (wide * jnp.expand_dims(a, space) + jnp.expand_dims(c, space)).astype(self.dtype)


def _group_mean(values: Float[Array, "b c"], groups: int) -> Float[Array, "b c"]:
    """The mean over each group of neighbouring channels, repeated for its channels."""
    b, c = values.shape
    mean = jnp.mean(values.reshape(b, groups, c // groups), axis=-1)
    return jnp.repeat(mean, c // groups, axis=-1)


def attend(
    q: Float[Array, "b n c"], k: Float[Array, "b m c"], v: Float[Array, "b m d"]
) -> Float[Array, "b n d"]:
    """``softmax(q k^T / sqrt(c)) v`` as two batched matrix products; the softmax is
    float32 at least.

    Source: Vaswani et al. 2017 (https://arxiv.org/abs/1706.03762), eq. 1.
    """
    logits = jnp.einsum("bnc,bmc->bnm", q, k) * q.shape[-1] ** -0.5
    weights = jax.nn.softmax(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)), axis=-1)
    return jnp.einsum("bnm,bmd->bnd", weights.astype(v.dtype), v)


def attend_by_heads(
    q: Float[Array, "b n c"],
    k: Float[Array, "b m c"],
    v: Float[Array, "b m c"],
    head_dim: int | None,
) -> Float[Array, "b n c"]:
    """`attend` for each group of ``head_dim`` neighbouring channels; None is one head
    of all channels.

    Raises:
        ValueError: ``head_dim`` does not divide the number of channels.
    """
    channels = q.shape[-1]
    if head_dim is None or head_dim == channels:
        return attend(q, k, v)
    if channels % head_dim:
        right = f"a divisor of the {channels} channels with attention"
        checks.fail("attention_head_dim", head_dim, right)
    heads = (part.reshape(*part.shape[:2], channels // head_dim, head_dim) for part in (q, k, v))
    return jax.vmap(attend, in_axes=2, out_axes=2)(*heads).reshape(q.shape)


class AttentionBlock(nn.Module):
    """``x + Dense(attend(Dense(GroupNorm(x))))``: every pixel attends to every pixel,
    with one head.

    The last map starts at zero, so the block starts as the identity.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Add the attention."""
        b, h, w, c = x.shape
        normed = GroupNorm(dtype=self.dtype, name="norm")(x).reshape(b, h * w, c)
        q, k, v = jnp.split(nn.Dense(3 * c, dtype=self.dtype, name="qkv")(normed), 3, axis=-1)
        mixed = nn.Dense(c, dtype=self.dtype, kernel_init=nn.initializers.zeros_init(), name="out")(
            attend(q, k, v)
        )
        return x + mixed.reshape(b, h, w, c)


class Conv3x3(nn.Module):
    """A 3 x 3 convolution with zero padding; ``zero`` starts it at zero."""

    channels: int
    zero: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w channels"]:
        """Convolve ``x``."""
        kernel_init = nn.initializers.zeros_init() if self.zero else nn.initializers.lecun_normal()
        return nn.Conv(
            self.channels, (3, 3), dtype=self.dtype, kernel_init=kernel_init, name="conv"
        )(x)


class ResidualBlock(nn.Module):
    """``skip(x) + conv(drop(act(norm(conv(act(norm(x))) + Dense(act(embedded))))))``.

    ``embedded`` is the embedding ``[b, d]`` of time and class. The last convolution
    starts at zero; ``skip`` is the identity, or a linear map of the channels where
    their number changes. The layers are in the order of DDPM (Ho et al. 2020,
    https://arxiv.org/abs/2006.11239, appendix B).
    """

    channels: int
    dropout: float = 0.0
    activation: str = "silu"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], embedded: Float[Array, "b d"], *, train: bool = False
    ) -> Float[Array, "b h w channels"]:
        """Transform ``x``; ``train`` switches dropout on."""
        act = ACTIVATIONS[self.activation]
        h = act(GroupNorm(dtype=self.dtype, name="norm_in")(x))
        h = Conv3x3(self.channels, dtype=self.dtype, name="conv_in")(h)
        h = (
            h
            + nn.Dense(self.channels, dtype=self.dtype, name="condition")(act(embedded))[
                :, None, None, :
            ]
        )
        h = act(GroupNorm(dtype=self.dtype, name="norm_out")(h))
        h = nn.Dropout(self.dropout, deterministic=not train)(h)
        h = Conv3x3(self.channels, zero=True, dtype=self.dtype, name="conv_out")(h)
        if x.shape[-1] != self.channels:
            x = nn.Dense(self.channels, dtype=self.dtype, name="skip")(x)
        return x + h


def upsample(x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w c"]:
    """Twice the height and width, each pixel repeated."""
    b, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None, :], (b, h, 2, w, 2, c)).reshape(
        b, 2 * h, 2 * w, c
    )


def downsample(x: Float[Array, "b h w c"]) -> Float[Array, "b h//2 w//2 c"]:
    """Half the height and width, each pixel the mean of four; both sizes must be even."""
    b, h, w, c = x.shape
    return jnp.mean(x.reshape(b, h // 2, 2, w // 2, 2, c), axis=(2, 4))
