"""The blocks of DDPM, DDPM++ and NCSN++ on ``[b, h, w, c]``: residual blocks, attention
and resampling; and the embedding of noise level and class.
"""

import math
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from score_sde import checks
from score_sde.models import arguments
from score_sde.models.embeddings import FourierEmbedding, class_embedding, positional_embedding
from score_sde.models.fir import fir_downsample, fir_filter, fir_upsample
from score_sde.models.layers import GroupNorm, attend_by_heads, downsample, upsample

NONLINEARITIES = {
    "elu": nn.elu,
    "relu": nn.relu,
    "lrelu": lambda x: nn.leaky_relu(x, negative_slope=0.2),
    "swish": nn.silu,
}
"""The activations of the published networks, by name."""


@dataclass(frozen=True, kw_only=True)
class BlockOptions:
    """The options that all blocks of a network share.

    Attributes:
        nonlinearity: one of `NONLINEARITIES`.
        dropout: the rate of dropout in residual blocks.
        fir_kernel: the filter before and after resampling; None resamples by means and
            repetition.
        skip_rescale: whether sums of two branches are divided by the root of two.
        init_scale: the initial variance of the last layer of a block.
        num_groups: the groups of a normalisation; None for groups of at least four
            channels, at most 32 of them.
        norm_eps: is added to the variance of a group.
        attention_head_dim: the channels of an attention head; None for one head.
        pad_both_sides: whether strided convolutions pad every side of the image, rather
            than the right and the bottom.
        dtype: the type computed in.

    Raises:
        ValueError: an option is out of its range.
    """

    nonlinearity: str = "swish"
    dropout: float = 0.1
    fir_kernel: tuple[float, ...] | None = None
    skip_rescale: bool = False
    init_scale: float = 0.0
    num_groups: int | None = None
    norm_eps: float = 1e-6
    attention_head_dim: int | None = None
    pad_both_sides: bool = False
    dtype: str = "float32"

    def __post_init__(self) -> None:
        checks.one_of(NONLINEARITIES, nonlinearity=self.nonlinearity)
        arguments.rate(dropout=self.dropout)
        checks.not_negative(init_scale=self.init_scale)
        checks.positive(norm_eps=self.norm_eps)
        if self.attention_head_dim is not None:
            checks.whole(1, attention_head_dim=self.attention_head_dim)
        checks.one_of(arguments.DTYPES, dtype=self.dtype)

    def act(self, x: Array) -> Array:
        """The activation."""
        return NONLINEARITIES[self.nonlinearity](x)

    def norm(self, name: str, num_groups: int | None = None) -> GroupNorm:
        """A group normalisation; ``num_groups`` None takes the option's."""
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
    options: BlockOptions,
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
        dtype=options.dtype,
        name=name,
    )


def dense(channels: int, options: BlockOptions, name: str, *, scale: float = 1.0) -> nn.Dense:
    """A linear map of the channels."""
    return nn.Dense(channels, kernel_init=scaled_init(scale), dtype=options.dtype, name=name)


@dataclass(frozen=True, kw_only=True)
class TimeFeatures:
    """The sines and cosines of a time label that a U-Net starts from.

    Attributes:
        fourier_scale: the standard deviation of the random frequencies at which ``log
            t`` is embedded; None embeds ``t`` itself at fixed frequencies.
        freq_shift: of `positional_embedding`.
        cosine_first: of `positional_embedding`.
    """

    fourier_scale: float | None = None
    freq_shift: float = 1.0
    cosine_first: bool = False

    def __call__(self, t: Float[Array, " b"], nf: int) -> Float[Array, "b d"]:
        """The ``nf`` numbers of each label, or ``2 nf`` of the Fourier features, whose
        layer is made in the calling module.
        """
        if self.fourier_scale is not None:
            return FourierEmbedding(2 * nf, self.fourier_scale, name="fourier")(jnp.log(t))
        return positional_embedding(
            t, nf, freq_shift=self.freq_shift, cosine_first=self.cosine_first
        )


def time_and_class_embedding(
    options: BlockOptions,
    t: Float[Array, " b"],
    label: Integer[Array, " b"] | None,
    present: Bool[Array, " b"] | None,
    *,
    features: TimeFeatures,
    nf: int,
    num_classes: int | None,
) -> Float[Array, "b d"]:
    """The embedding, of ``4 nf`` numbers, of the time label and the class label.

    ``Dense(act(Dense(features(t)))) + table[label]``, see `class_embedding`; the layers
    are made in the calling module.

    Raises:
        ValueError: a label is given and ``num_classes`` is None.
    """
    t = t.astype(jnp.promote_types(t.dtype, jnp.float32))
    hidden = dense(4 * nf, options, "time_0")(features(t, nf).astype(options.dtype))
    of_time = dense(4 * nf, options, "time_1")(options.act(hidden))
    if label is None:
        return of_time
    return of_time + class_embedding(
        label, present, num_classes=num_classes, dim=4 * nf, dtype=options.dtype
    )


tell = time_and_class_embedding
"""Its name in version 0.1, by which its dotted name is found."""


class ResBlock(nn.Module):
    """``skip(r(x)) + conv(drop(act(norm(conv(r(act(norm(x)))) +
    Dense(act(embedded))))))``.

    ``r`` halves or doubles the size where ``resample`` is ``down`` or ``up``, as in
    BigGAN, and else does nothing; ``skip`` is linear where the channels or the size
    change. ``embedded`` is the embedding of time and class, None for an unconditional
    block. The first normalisation is in ``num_groups_in`` groups, None for the
    options'. Sources: Ho et al. 2020, appendix B; Brock et al. 2019
    (https://arxiv.org/abs/1809.11096); Song et al. 2021, appendix H.
    """

    options: BlockOptions
    channels: int
    resample: str | None = None
    num_groups_in: int | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], embedded: Float[Array, "b d"] | None, train: bool = False
    ) -> Float[Array, "b h2 w2 channels"]:
        """Transform ``x``; ``train`` switches dropout on."""
        options, channels = self.options, self.channels
        h = options.act(options.norm("norm_in", self.num_groups_in)(x))
        if self.resample is not None:
            resampled = options.upsampled if self.resample == "up" else options.downsampled
            x, h = resampled(x), resampled(h)
        h = conv(channels, options, "conv_in")(h)
        if embedded is not None:
            h = h + dense(channels, options, "condition")(options.act(embedded))[:, None, None, :]
        h = options.act(options.norm("norm_out")(h))
        h = nn.Dropout(options.dropout, deterministic=not train)(h)
        h = conv(channels, options, "conv_out", scale=options.init_scale)(h)
        if x.shape[-1] != channels or self.resample is not None:
            x = dense(channels, options, "skip")(x)
        return options.add(x, h)


class Attention(nn.Module):
    """``x + Dense(attend(Dense(norm(x))))``: every pixel attends to every pixel, with
    ``attention_head_dim`` channels a head.

    ``num_groups`` None normalises in as many groups as the style does.
    """

    options: BlockOptions
    num_groups: int | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Add the attention."""
        b, h, w, c = x.shape
        normed = self.options.norm("norm", self.num_groups)(x).reshape(b, h * w, c)
        q, k, v = (dense(c, self.options, name)(normed) for name in ("query", "key", "value"))
        mixed = dense(c, self.options, "out", scale=self.options.init_scale)(
            attend_by_heads(q, k, v, self.options.attention_head_dim)
        )
        return self.options.add(x, mixed.reshape(b, h, w, c))


class Downsample(nn.Module):
    """Half the size, by a strided convolution of ``channels``, with the filter of the
    options before it.
    """

    options: BlockOptions
    channels: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h//2 w//2 channels"]:
        """Halve the height and width of ``x``."""
        kernel = self.options.fir_kernel
        if kernel is None:
            if self.options.pad_both_sides:
                x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
                return conv(self.channels, self.options, "conv", stride=2, padding="VALID")(x)
            return conv(self.channels, self.options, "conv", stride=2)(x)
        overlap = len(kernel)
        x = fir_filter(x, kernel, pad=((overlap + 1) // 2, overlap // 2))
        strided = nn.Conv(
            self.channels,
            (3, 3),
            (2, 2),
            "VALID",
            kernel_init=scaled_init(),
            dtype=self.options.dtype,
            name="conv",
        )
        return strided(x)


class Upsample(nn.Module):
    """Twice the size, and a convolution to ``channels``; with a filter, the convolution
    comes before it.
    """

    options: BlockOptions
    channels: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w channels"]:
        """Double the height and width of ``x``."""
        kernel = self.options.fir_kernel
        if kernel is None:
            return conv(self.channels, self.options, "conv")(upsample(x))
        spread = nn.Conv(
            self.channels,
            (3, 3),
            padding=((2, 2), (2, 2)),
            input_dilation=(2, 2),
            use_bias=False,
            kernel_init=scaled_init(),
            dtype=self.options.dtype,
            name="conv",
        )(x)
        overlap = len(kernel) - 4
        pad = ((overlap + 1) // 2 + 1, overlap // 2 + 1)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.channels,))
        bias = bias.astype(self.options.dtype).reshape(1, 1, 1, -1)
        return fir_filter(spread, kernel, pad=pad, gain=2.0) + bias
