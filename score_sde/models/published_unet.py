"""The base of the published U-Nets, DDPM and NCSN++: input, embedding, output and
options.
"""

import abc
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from score_sde import checks
from score_sde.models import arguments
from score_sde.models.base import ScoreNetwork, from_linen
from score_sde.models.blocks import (
    Attention,
    BlockOptions,
    Downsample,
    ResBlock,
    TimeFeatures,
    Upsample,
    time_and_class_embedding,
)
from score_sde.models.conditions import class_label
from score_sde.models.labels import LevelLabels, PositiveLabels, TimeLabels, descending_sigmas


class PublishedUNet(nn.Module):
    """A U-Net conditioned on noise level and class; a subclass has its levels.

    Attributes:
        options: the options that all blocks share.
        features: of the time label.
        nf: the number of channels at full resolution.
        ch_mult: for each level, its channels as a multiple of ``nf``.
        num_res_blocks: residual blocks of a level on the way down; there is one more on
            the way up.
        attn_resolutions: the heights of the image at which there is attention.
        resamp_with_conv: whether levels are resampled by convolutions.
        conditional: whether the network is conditioned on noise level and class.
        sigmas: the noise level of each time label; None where the label is not an
            index.
        scale_by_sigma: whether the output is divided by the noise level.
        rescale_input: whether images come in [0, 1] and are mapped to [-1, 1] first.
        num_classes: the number of class labels, or None.
        remat: whether residual blocks are recomputed in the backward pass.
    """

    options: BlockOptions
    features: TimeFeatures
    nf: int
    ch_mult: tuple[int, ...]
    num_res_blocks: int
    attn_resolutions: tuple[int, ...]
    resamp_with_conv: bool
    conditional: bool
    sigmas: tuple[float, ...] | None
    scale_by_sigma: bool
    rescale_input: bool
    num_classes: int | None
    remat: bool

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
        image = (2.0 * x - 1.0 if self.rescale_input else x).astype(self.options.dtype)
        out = self._output_of(image, embedded, train).astype(x.dtype)
        return out / self._sigma(t)[:, None, None, None] if self.scale_by_sigma else out

    @abc.abstractmethod
    def _output_of(
        self, image: Float[Array, "b h w c"], embedded: Float[Array, "b d"] | None, train: bool
    ) -> Float[Array, "b h w c"]:
        """The levels on the way down and up again."""

    def _embedded(
        self,
        t: Float[Array, " b"],
        condition: Integer[Array, " b"] | None,
        present: Bool[Array, " b"] | None,
    ) -> Float[Array, "b d"] | None:
        if not self.conditional:
            return None
        return time_and_class_embedding(
            self.options,
            t,
            condition,
            present,
            features=self.features,
            nf=self.nf,
            num_classes=self.num_classes,
        )

    def _sigma(self, t: Float[Array, " b"]) -> Float[Array, " b"]:
        """The noise level of a label: the label itself, or an entry of the table."""
        return t if self.sigmas is None else jnp.asarray(self.sigmas, t.dtype)[t.astype(jnp.int32)]

    def _block(
        self, channels: int, name: str, resample: str | None = None, *, groups: int | None = None
    ) -> nn.Module:
        block = nn.remat(ResBlock, static_argnums=(3,)) if self.remat else ResBlock
        return block(self.options, channels, resample, groups, name=name)

    def _attend(self, h: Array, name: str, groups: int | None = None) -> Array:
        """Attention, at the chosen resolutions."""
        if h.shape[1] not in self.attn_resolutions:
            return h
        return Attention(self.options, groups, name=name)(h)

    def _smaller(self, h: Array, name: str) -> Array:
        """Half the size."""
        if self.resamp_with_conv:
            return Downsample(self.options, h.shape[-1], name=name)(h)
        return self.options.downsampled(h)

    def _larger(self, h: Array, name: str) -> Array:
        """Twice the size."""
        if self.resamp_with_conv:
            return Upsample(self.options, h.shape[-1], name=name)(h)
        return self.options.upsampled(h)


def sizes(
    nf: int, ch_mult: Sequence[int], num_res_blocks: int, attn_resolutions: Sequence[int]
) -> dict[str, Any]:
    """The fields of a `PublishedUNet` that set its size.

    Raises:
        ValueError: one of them is out of its range.
    """
    arguments.even(4, nf=nf)
    arguments.not_empty(ch_mult=ch_mult)
    arguments.each_whole(1, ch_mult=ch_mult, attn_resolutions=attn_resolutions)
    checks.whole(1, num_res_blocks=num_res_blocks)
    return {
        "nf": int(nf),
        "ch_mult": tuple(map(int, ch_mult)),
        "num_res_blocks": int(num_res_blocks),
        "attn_resolutions": tuple(map(int, attn_resolutions)),
    }


def table_of_sigmas(
    has_table: bool, num_scales: int, sigma_min: float, sigma_max: float
) -> tuple[float, ...] | None:
    """The noise levels by which an output is divided, or None without a table."""
    return descending_sigmas(num_scales, sigma_min, sigma_max) if has_table else None


def network_of(module: PublishedUNet, shape: Sequence[int], name: str) -> ScoreNetwork:
    """The network of a module, for images of ``shape``; messages call it ``name``.

    Raises:
        ValueError: the image does not fit the levels, or there is no class.
    """
    levels = len(module.ch_mult)
    size = arguments.image_shape(
        name, shape, divisor=2 ** (levels - 1), levels=f" of {levels} levels (ch_mult)"
    )
    condition = class_label(module.num_classes, module.conditional)
    return from_linen(module, size, condition=condition, labels=_labels(module, name))


def _labels(module: PublishedUNet, name: str) -> TimeLabels | None:
    """The time labels of the network; None where every number is one."""
    if module.sigmas is not None:
        return LevelLabels(network=f"{name} with scale_by_sigma", num_scales=len(module.sigmas))
    if module.features.fourier_scale is None or not (module.conditional or module.scale_by_sigma):
        return None
    return PositiveLabels(
        network=f"{name} with embedding_type='fourier'", divides=module.scale_by_sigma
    )
