"""A compact U-Net for images."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from score_sde import checks
from score_sde.models import arguments
from score_sde.models.base import ScoreNetwork, from_linen, named
from score_sde.models.compact_network import CompactNetwork, checked_options
from score_sde.models.conditions import class_label
from score_sde.models.embeddings import ACTIVATIONS
from score_sde.models.layers import (
    AttentionBlock,
    Conv3x3,
    GroupNorm,
    ResidualBlock,
    downsample,
    upsample,
)


class UNet(CompactNetwork):
    """Residual blocks at falling, then rising resolution, each rising block joined to
    a falling one.

    Level ``i`` has ``channels * channel_mult[i]`` channels at ``1/2**i`` of the size.
    It is the U-Net of DDPM (Ho et al. 2020, https://arxiv.org/abs/2006.11239, appendix
    B) without its costs on small images: resampling averages and repeats pixels without
    a convolution, and a level has as many blocks up as down. The last convolution, and
    so the network, starts at zero.

    Attributes:
        channels: at full resolution.
        channel_mult: for each level, its channels as a multiple of ``channels``.
        num_res_blocks: residual blocks of a level on the way down, and again on the way
            up.
        attention_resolutions: the heights at which attention follows each block.
    """

    channels: int = 32
    channel_mult: tuple[int, ...] = (1, 2)
    num_res_blocks: int = 1
    attention_resolutions: tuple[int, ...] = (4,)

    @property
    def _embedding_sizes(self) -> tuple[int, int]:
        return 4 * self.channels, self.channels

    def _output_of(
        self, x: Float[Array, "b h w c"], embedded: Float[Array, "b d"], train: bool
    ) -> Float[Array, "b h w c"]:
        h = Conv3x3(self.channels, dtype=self.dtype, name="conv_in")(x)
        skips = []
        for level in range(len(self.channel_mult)):
            h = downsample(h) if level > 0 else h
            for i in range(self.num_res_blocks):
                h = self._block(h, embedded, level, f"down_{level}_{i}", train=train)
                skips.append(h)
        last = len(self.channel_mult) - 1
        h = self._block(h, embedded, last, "middle_0", train=train, attention=True)
        h = self._block(h, embedded, last, "middle_1", train=train, attention=False)
        for level in reversed(range(len(self.channel_mult))):
            for i in range(self.num_res_blocks):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = self._block(h, embedded, level, f"up_{level}_{i}", train=train)
            h = upsample(h) if level > 0 else h
        h = ACTIVATIONS[self.activation](GroupNorm(dtype=self.dtype, name="norm_out")(h))
        return Conv3x3(x.shape[-1], zero=True, dtype=self.dtype, name="conv_out")(h)

    def _block(
        self,
        h: Float[Array, "b h w c"],
        embedded: Float[Array, "b d"],
        level: int,
        name: str,
        *,
        train: bool,
        attention: bool | None = None,
    ) -> Float[Array, "b h w c2"]:
        """A residual block of ``level``, and attention; None for attention at the
        chosen resolutions.
        """
        channels = self.channels * self.channel_mult[level]
        residual = ResidualBlock(
            channels, self.dropout, self.activation, dtype=self.dtype, name=name
        )
        h = residual(h, embedded, train=train)
        if attention is None:
            attention = h.shape[1] in self.attention_resolutions
        return AttentionBlock(dtype=self.dtype, name=f"{name}_attention")(h) if attention else h


@named
def unet(
    shape: Sequence[int],
    *,
    channels: int = 32,
    channel_mult: Sequence[int] = (1, 2),
    num_res_blocks: int = 1,
    attention_resolutions: Sequence[int] = (4,),
    embedding: str = "positional",
    fourier_scale: float = 16.0,
    activation: str = "silu",
    dropout: float = 0.0,
    num_classes: int | None = None,
    dtype: str = "float32",
) -> ScoreNetwork:
    """Build a `UNet` for images of ``shape`` ``(height, width, channels)``.

    Args:
        shape: the shape of one image; height and width must halve ``len(channel_mult) -
            1`` times without remainder.
        channels: the number of channels at full resolution; even, 4 or more.
        channel_mult: for each level, its channels as a multiple of ``channels``.
        num_res_blocks: the number of residual blocks of a level on the way down, and
            again on the way up.
        attention_resolutions: the heights of the image at which attention follows each
            residual block. The middle of the network always has attention.
        embedding: ``positional`` for time labels of the order of 0 to 1000, ``fourier``
            for labels of the order of one.
        fourier_scale: the standard deviation of the frequencies of the Fourier
            embedding.
        activation: one of `score_sde.models.ACTIVATIONS`.
        dropout: the rate of dropout in each residual block.
        num_classes: the number of class labels, or None.
        dtype: the type computed in; the parameters are float32.

    Raises:
        ValueError: an argument is out of its range, or the image does not fit the
            levels.
    """
    arguments.even(4, channels=channels)
    arguments.not_empty(channel_mult=channel_mult)
    arguments.each_whole(1, channel_mult=channel_mult, attention_resolutions=attention_resolutions)
    checks.whole(1, num_res_blocks=num_res_blocks)
    options = checked_options(
        embedding=embedding,
        fourier_scale=fourier_scale,
        activation=activation,
        dropout=dropout,
        num_classes=num_classes,
        dtype=dtype,
    )
    module = UNet(
        channels=int(channels),
        channel_mult=tuple(map(int, channel_mult)),
        num_res_blocks=int(num_res_blocks),
        attention_resolutions=tuple(map(int, attention_resolutions)),
        **options,
    )
    levels = len(channel_mult)
    size = arguments.image_shape(
        "a U-Net", shape, divisor=2 ** (levels - 1), levels=f" of {levels} levels (channel_mult)"
    )
    return from_linen(module, size, condition=class_label(num_classes))
