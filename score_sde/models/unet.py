"""A compact U-Net for images."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Integer

from score_sde.models import options
from score_sde.models.base import ScoreNetwork, from_linen, named
from score_sde.models.conditions import class_label
from score_sde.models.embeddings import ACTIVATIONS, EMBEDDINGS, ConditionEmbedding
from score_sde.models.layers import (
    AttentionBlock,
    Conv3x3,
    GroupNorm,
    ResidualBlock,
    downsample,
    upsample,
)


class UNet(nn.Module):
    """Residual blocks at falling, then rising resolution, each rising block joined to
    its falling partner.

    Level ``i`` has ``channels * channel_mult[i]`` channels at ``1/2**i`` of the size.
    The design is that of DDPM (Ho et al. 2020, https://arxiv.org/abs/2006.11239,
    appendix B) without what costs much on small images: resampling averages and repeats
    pixels without a convolution of its own, and a level has as many blocks up as down.
    The last convolution starts at zero, so the network does.
    """

    channels: int = 32
    channel_mult: tuple[int, ...] = (1, 2)
    num_res_blocks: int = 1
    attention_resolutions: tuple[int, ...] = (4,)
    embedding: str = "positional"
    fourier_scale: float = 16.0
    activation: str = "silu"
    dropout: float = 0.0
    num_classes: int | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        t: Float[Array, " b"],
        *,
        condition: Integer[Array, " b"] | None = None,
        present: Bool[Array, " b"] | None = None,
        train: bool = False,
    ) -> Float[Array, "b h w c"]:
        """Evaluate the network on a batch; ``train`` switches dropout on."""
        embedded = self._embedded(t, condition, present)
        h = Conv3x3(self.channels, dtype=self.dtype, name="conv_in")(x.astype(self.dtype))
        skips = []
        for level in range(len(self.channel_mult)):
            h = downsample(h) if level > 0 else h
            for i in range(self.num_res_blocks):
                h = self._block(h, embedded, level, f"down_{level}_{i}", train=train)
                skips.append(h)
        h = self._block(
            h, embedded, len(self.channel_mult) - 1, "middle_0", train=train, attention=True
        )
        h = self._block(
            h, embedded, len(self.channel_mult) - 1, "middle_1", train=train, attention=False
        )
        for level in reversed(range(len(self.channel_mult))):
            for i in range(self.num_res_blocks):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = self._block(h, embedded, level, f"up_{level}_{i}", train=train)
            h = upsample(h) if level > 0 else h
        h = ACTIVATIONS[self.activation](GroupNorm(dtype=self.dtype, name="norm_out")(h))
        return Conv3x3(x.shape[-1], zero=True, dtype=self.dtype, name="conv_out")(h).astype(x.dtype)

    def _embedded(
        self,
        t: Float[Array, " b"],
        condition: Integer[Array, " b"] | None,
        present: Bool[Array, " b"] | None,
    ) -> Float[Array, "b d"]:
        return ConditionEmbedding(
            dim=4 * self.channels,
            features=self.channels,
            embedding=self.embedding,
            fourier_scale=self.fourier_scale,
            num_classes=self.num_classes,
            activation=self.activation,
            dtype=self.dtype,
            name="condition",
        )(t, condition, present)

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
        """A residual block of ``level``, and attention if asked for; None asks for it
        at the chosen resolutions.
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
            residual block; a height that no level has is without effect. The middle of
            the network always has attention.
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
    module = UNet(
        channels=options.even("channels", channels, 4),
        channel_mult=options.all_at_least("channel_mult", channel_mult, 1),
        num_res_blocks=options.at_least("num_res_blocks", num_res_blocks, 1),
        attention_resolutions=options.each_at_least(
            "attention_resolutions", attention_resolutions, 1
        ),
        embedding=options.one_of("embedding", embedding, EMBEDDINGS),
        fourier_scale=options.positive("fourier_scale", fourier_scale),
        activation=options.one_of("activation", activation, ACTIVATIONS),
        dropout=options.rate("dropout", dropout),
        num_classes=options.at_least_or_none("num_classes", num_classes, 1),
        dtype=options.one_of("dtype", dtype, options.DTYPES),
    )
    size = options.image("a U-Net", shape, levels=len(module.channel_mult), key="channel_mult")
    return from_linen(module, size, condition=class_label(num_classes))
