"""The blocks of DDPM, DDPM++ and NCSN++: residual blocks, attention, resampling, on
``[b, h, w, c]``; and the embedding of noise level and class that conditions them.
"""

import math
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Integer

from score_sde.models.embeddings import FourierEmbedding, class_embedding, positional_embedding
from score_sde.models.fir import fir_downsample, fir_filter, fir_upsample
from score_sde.models.layers import GroupNorm, attend_by_heads, downsample, upsample

NONLINEARITIES = {
    "elu": nn.elu,
    "relu": nn.relu,
    "lrelu": lambda x: nn.leaky_relu(x, negative_slope=0.2),
    "swish": nn.silu,
}
"""The activations of the published networks, by their published names."""


@dataclass(frozen=True, kw_only=True)
class Style:
    """What all blocks of a network have in common.

    ``fir_kernel`` None resamples by means and repetition. ``skip_rescale`` divides sums
    of two branches by the root of two. ``init_scale`` is the variance that a block's
    last layer starts with. ``num_groups`` None normalises in groups of at least four
    channels, at most 32 of them. ``norm_eps`` is added to their variance. An attention
    head has ``head_dim`` channels, None for one head of all. ``pad_both_sides`` pads
    strided convolutions on every side, rather than on the far ones alone.
    """

    nonlinearity: str = "swish"
    dropout: float = 0.1
    fir_kernel: tuple[float, ...] | None = None
    skip_rescale: bool = False
    init_scale: float = 0.0
    num_groups: int | None = None
    norm_eps: float = 1e-6
    head_dim: int | None = None
    pad_both_sides: bool = False
    dtype: DTypeLike = jnp.float32

    def act(self, x: Array) -> Array:
        """The activation."""
        return NONLINEARITIES[self.nonlinearity](x)

    def norm(self, name: str, num_groups: int | None = None) -> GroupNorm:
        """A group normalisation, in other groups than the style's if so asked."""
        groups = self.num_groups if num_groups is None else num_groups
        return GroupNorm(groups, self.norm_eps, dtype=self.dtype, name=name)

    def add(self, x: Array, h: Array) -> Array:
        """The sum of two branches."""
        return (x + h) * math.sqrt(0.5) if self.skip_rescale else x + h

    def upsampled(self, x: Array) -> Array:
        """Twice the size."""
        return upsample(x) if self.fir_kernel is None else fir_upsample(x, self.fir_kernel)

    def downsampled(self, x: Array) -> Array:
        """Half the size."""
        return downsample(x) if self.fir_kernel is None else fir_downsample(x, self.fir_kernel)


def scaled_init(scale: float = 1.0) -> jax.nn.initializers.Initializer:
    """Uniform, of variance ``scale`` over the mean of the numbers of inputs and
    outputs; zero stands for 1e-10.
    """
    return jax.nn.initializers.variance_scaling(max(scale, 1e-10), "fan_avg", "uniform")


def conv(
    channels: int,
    style: Style,
    name: str,
    *,
    size: int = 3,
    stride: int = 1,
    scale: float = 1.0,
    padding: str = "SAME",
) -> nn.Conv:
    """A convolution, with zero padding unless ``padding`` is ``VALID``."""
    return nn.Conv(
        channels,
        (size, size),
        (stride, stride),
        padding,
        kernel_init=scaled_init(scale),
        dtype=style.dtype,
        name=name,
    )


def dense(channels: int, style: Style, name: str, *, scale: float = 1.0) -> nn.Dense:
    """A linear map of the channels."""
    return nn.Dense(channels, kernel_init=scaled_init(scale), dtype=style.dtype, name=name)


def time_and_class_embedding(
    style: Style,
    t: Float[Array, " b"],
    label: Integer[Array, " b"] | None,
    present: Bool[Array, " b"] | None,
    *,
    nf: int,
    fourier_scale: float | None,
    num_classes: int | None,
    freq_shift: float = 1.0,
    cosine_first: bool = False,
) -> Float[Array, "b d"]:
    """The embedding, of ``4 nf`` numbers, of time label and class label, its layers
    made in the module that calls.

    ``fourier_scale`` None embeds ``t`` itself by sines and cosines of fixed
    frequencies; a number embeds ``log t`` by random ones. The class is added as in
    `class_embedding`. ``freq_shift`` and ``cosine_first`` are those of
    `positional_embedding`.

    Raises:
        ValueError: a label is given and ``num_classes`` is None.
    """
    t = t.astype(jnp.promote_types(t.dtype, jnp.float32))
    if fourier_scale is None:
        features = positional_embedding(t, nf, freq_shift=freq_shift, cosine_first=cosine_first)
    else:
        features = FourierEmbedding(2 * nf, fourier_scale, name="fourier")(jnp.log(t))
    hidden = dense(4 * nf, style, "time_0")(features.astype(style.dtype))
    of_time = dense(4 * nf, style, "time_1")(style.act(hidden))
    if label is None:
        return of_time
    return of_time + class_embedding(
        label, present, num_classes=num_classes, dim=4 * nf, dtype=style.dtype
    )


tell = time_and_class_embedding
"""Its name in version 0.1, by which its dotted name is found."""


class ResBlock(nn.Module):
    """``skip(r(x)) + conv(drop(act(norm(conv(r(act(norm(x)))) + Dense(act(embedded))))))``.

    ``r`` halves or doubles the size where ``resample`` is ``down`` or ``up``, as in
    BigGAN, and else does nothing; ``skip`` is linear where the channels or the size
    change. ``embedded`` is the embedding of time and class, None for an unconditional
    block. The first normalisation is in ``num_groups_in`` groups, None for as many as
    the style's. Sources: Ho et al. 2020, appendix B; Brock et al. 2019
    (https://arxiv.org/abs/1809.11096); Song et al. 2021, appendix H.
    """

    style: Style
    channels: int
    resample: str | None = None
    num_groups_in: int | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], embedded: Float[Array, "b d"] | None, train: bool = False
    ) -> Float[Array, "b h2 w2 channels"]:
        """Transform ``x``; ``train`` switches dropout on."""
        style, channels = self.style, self.channels
        h = style.act(style.norm("norm_in", self.num_groups_in)(x))
        if self.resample is not None:
            resampled = style.upsampled if self.resample == "up" else style.downsampled
            x, h = resampled(x), resampled(h)
        h = conv(channels, style, "conv_in")(h)
        if embedded is not None:
            h = h + dense(channels, style, "condition")(style.act(embedded))[:, None, None, :]
        h = style.act(style.norm("norm_out")(h))
        h = nn.Dropout(style.dropout, deterministic=not train)(h)
        h = conv(channels, style, "conv_out", scale=style.init_scale)(h)
        if x.shape[-1] != channels or self.resample is not None:
            x = dense(channels, style, "skip")(x)
        return style.add(x, h)


class Attention(nn.Module):
    """``x + Dense(attend(Dense(norm(x))))``: every pixel attends to every pixel, with
    the heads of the style.

    ``num_groups`` None normalises in as many groups as the style does.
    """

    style: Style
    num_groups: int | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Add what the pixels say of one another."""
        b, h, w, c = x.shape
        normed = self.style.norm("norm", self.num_groups)(x).reshape(b, h * w, c)
        q, k, v = (dense(c, self.style, name)(normed) for name in ("query", "key", "value"))
        mixed = dense(c, self.style, "out", scale=self.style.init_scale)(
            attend_by_heads(q, k, v, self.style.head_dim)
        )
        return self.style.add(x, mixed.reshape(b, h, w, c))


class Downsample(nn.Module):
    """Half the size, by a strided convolution of ``channels``, with the style's filter
    before it.
    """

    style: Style
    channels: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h//2 w//2 channels"]:
        """Halve the height and width of ``x``."""
        kernel = self.style.fir_kernel
        if kernel is None:
            if self.style.pad_both_sides:
                x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
                return conv(self.channels, self.style, "conv", stride=2, padding="VALID")(x)
            return conv(self.channels, self.style, "conv", stride=2)(x)
        overlap = len(kernel)
        x = fir_filter(x, kernel, pad=((overlap + 1) // 2, overlap // 2))
        strided = nn.Conv(
            self.channels,
            (3, 3),
            (2, 2),
            "VALID",
            kernel_init=scaled_init(),
            dtype=self.style.dtype,
            name="conv",
        )
        return strided(x)


class Upsample(nn.Module):
    """Twice the size, and a convolution to ``channels``; with a filter, the convolution
    comes before it.
    """

    style: Style
    channels: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w channels"]:
        """Double the height and width of ``x``."""
        kernel = self.style.fir_kernel
        if kernel is None:
            return conv(self.channels, self.style, "conv")(upsample(x))
        spread = nn.Conv(
            self.channels,
            (3, 3),
            padding=((2, 2), (2, 2)),
            input_dilation=(2, 2),
            use_bias=False,
            kernel_init=scaled_init(),
            dtype=self.style.dtype,
            name="conv",
        )(x)
        overlap = len(kernel) - 4
        pad = ((overlap + 1) // 2 + 1, overlap // 2 + 1)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.channels,))
        return fir_filter(spread, kernel, pad=pad, gain=2.0) + bias.astype(self.style.dtype)
