"""NCSN++ and DDPM++ (Song et al. 2021), one network with many options."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from score_sde.models import options
from score_sde.models.base import ScoreNetwork, from_linen, named
from score_sde.models.blocks import (
    NONLINEARITIES,
    Attention,
    Downsample,
    ResBlock,
    Style,
    Upsample,
    conv,
    time_and_class_embedding,
)
from score_sde.models.conditions import class_label
from score_sde.models.labels import Labels, LevelLabels, PositiveLabels, descending_sigmas


class NCSNpp(nn.Module):
    """A U-Net of residual blocks, with pyramids of the input and of the output beside it.

    ``progressive_input`` adds the halved input to every level on the way down,
    ``progressive`` grows the output level by level on the way up. Source: Song et al.
    2021 (https://arxiv.org/abs/2011.13456), section 4.1 and appendix H.
    """

    style: Style
    nf: int
    ch_mult: tuple[int, ...]
    num_res_blocks: int
    attn_resolutions: tuple[int, ...]
    resamp_with_conv: bool
    conditional: bool
    resblock_type: str
    progressive: str
    progressive_input: str
    progressive_combine: str
    fourier_scale: float | None
    sigmas: tuple[float, ...] | None
    scale_by_sigma: bool
    rescale_input: bool
    num_classes: int | None
    diffusers_groups: bool
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
        image = (2.0 * x - 1.0 if self.rescale_input else x).astype(self.style.dtype)
        skips = self._down(image, embedded, train)
        h = self._block(skips[-1].shape[-1], "middle_0")(skips[-1], embedded, train)
        h = Attention(self.style, name="middle_attention")(h)
        h = self._block(h.shape[-1], "middle_1")(h, embedded, train)
        out = self._up(h, skips, embedded, x.shape[-1], train).astype(x.dtype)
        return out / self._sigma(t)[:, None, None, None] if self.scale_by_sigma else out

    def _embedded(
        self,
        t: Float[Array, " b"],
        condition: Integer[Array, " b"] | None,
        present: Bool[Array, " b"] | None,
    ) -> Float[Array, "b d"] | None:
        if not self.conditional:
            return None
        return time_and_class_embedding(
            self.style,
            t,
            condition,
            present,
            nf=self.nf,
            fourier_scale=self.fourier_scale,
            num_classes=self.num_classes,
        )

    def _sigma(self, t: Float[Array, " b"]) -> Float[Array, " b"]:
        """The noise level that the label stands for: itself, or a level of the table."""
        return t if self.sigmas is None else jnp.asarray(self.sigmas, t.dtype)[t.astype(jnp.int32)]

    def _down(self, image: Array, embedded: Array | None, train: bool) -> list[Array]:
        """The activations on the way down, from the first convolution to the smallest size."""
        skips, pyramid = [conv(self.nf, self.style, "conv_in")(image)], image
        for level, mult in enumerate(self.ch_mult):
            for i in range(self.num_res_blocks):
                h = self._block(self.nf * mult, f"down_{level}_{i}")(skips[-1], embedded, train)
                skips.append(self._attend(h, f"down_{level}_{i}_attention"))
            if level < len(self.ch_mult) - 1:
                h = self._halved(skips[-1], embedded, train, level)
                if self.progressive_input != "none":
                    h, pyramid = self._joined(pyramid, h, level)
                skips.append(h)
        return skips

    def _halved(self, h: Array, embedded: Array | None, train: bool, level: int) -> Array:
        if self.resblock_type == "biggan":
            return self._block(h.shape[-1], f"shrink_{level}", "down")(h, embedded, train)
        if self.resamp_with_conv:
            return Downsample(self.style, h.shape[-1], name=f"shrink_{level}")(h)
        return self.style.downsampled(h)

    def _joined(self, pyramid: Array, h: Array, level: int) -> tuple[Array, Array]:
        """``h`` with the halved input, and that input."""
        if self.progressive_input == "residual":
            smaller = Downsample(self.style, h.shape[-1], name=f"input_{level}")(pyramid)
            joined = self.style.add(smaller, h)
            return joined, joined
        smaller = self.style.downsampled(pyramid)
        mapped = conv(h.shape[-1], self.style, f"input_{level}", size=1)(smaller)
        joined = (
            mapped + h
            if self.progressive_combine == "sum"
            else jnp.concatenate([mapped, h], axis=-1)
        )
        return joined, smaller

    def _up(
        self, h: Array, skips: list[Array], embedded: Array | None, channels: int, train: bool
    ) -> Array:
        """From the smallest size to the output."""
        pyramid = None
        for level in reversed(range(len(self.ch_mult))):
            for i in range(self.num_res_blocks + 1):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                groups = (
                    32 if self.diffusers_groups and h.shape[1] in self.attn_resolutions else None
                )
                h = self._block(self.nf * self.ch_mult[level], f"up_{level}_{i}", groups=groups)(
                    h, embedded, train
                )
            h = self._attend(h, f"up_{level}_attention")
            if self.progressive == "output_skip":
                pyramid = self._output(h, pyramid, channels, level)
            elif self.progressive == "residual":
                h, pyramid = self._grown(h, pyramid, level)
            if level > 0:
                h = self._doubled(h, embedded, train, level)
        if self.progressive == "output_skip" and pyramid is not None:
            return pyramid
        h = self.style.act(self.style.norm("norm_out")(h))
        return conv(channels, self.style, "conv_out", scale=self.style.init_scale)(h)

    def _doubled(self, h: Array, embedded: Array | None, train: bool, level: int) -> Array:
        if self.resblock_type == "biggan":
            return self._block(h.shape[-1], f"grow_{level}", "up")(h, embedded, train)
        if self.resamp_with_conv:
            return Upsample(self.style, h.shape[-1], name=f"grow_{level}")(h)
        return self.style.upsampled(h)

    def _output(self, h: Array, pyramid: Array | None, channels: int, level: int) -> Array:
        """The output so far at the size of ``h``: that of the level before, doubled,
        and what this one adds.
        """
        h = self.style.act(self.style.norm(f"output_{level}_norm")(h))
        new = conv(channels, self.style, f"output_{level}", scale=self.style.init_scale)(h)
        return new if pyramid is None else self.style.upsampled(pyramid) + new

    def _grown(self, h: Array, pyramid: Array | None, level: int) -> tuple[Array, Array]:
        """``h`` and the residual pyramid of the output, the same but at the smallest size."""
        if pyramid is None:
            normed = self.style.act(self.style.norm(f"output_{level}_norm")(h))
            return h, conv(h.shape[-1], self.style, f"output_{level}")(normed)
        joined = self.style.add(
            Upsample(self.style, h.shape[-1], name=f"output_{level}")(pyramid), h
        )
        return joined, joined

    def _block(
        self, channels: int, name: str, resample: str | None = None, *, groups: int | None = None
    ) -> nn.Module:
        block = nn.remat(ResBlock, static_argnums=(3,)) if self.remat else ResBlock
        return block(self.style, channels, resample, groups, name=name)

    def _attend(self, h: Array, name: str) -> Array:
        attend = Attention(self.style, 32 if self.diffusers_groups else None, name=name)
        return attend(h) if h.shape[1] in self.attn_resolutions else h


@named
def ncsnpp(
    shape: Sequence[int], *, nf: int = 128, ch_mult: Sequence[int] = (1, 2, 2, 2),
    num_res_blocks: int = 4, dropout: float = 0.1, attn_resolutions: Sequence[int] = (16,),
    resamp_with_conv: bool = True, conditional: bool = True, fir: bool = True,
    fir_kernel: Sequence[int | float] = (1, 3, 3, 1), skip_rescale: bool = True,
    resblock_type: str = "biggan", progressive: str = "none", progressive_input: str = "residual",
    progressive_combine: str = "sum", embedding_type: str = "fourier", fourier_scale: float = 16.0,
    init_scale: float = 0.0, nonlinearity: str = "swish", scale_by_sigma: bool = False,
    sigma_min: float = 0.01, sigma_max: float = 50.0, num_scales: int = 1000,
    rescale_input: bool = False, num_classes: int | None = None, diffusers_groups: bool = False,
    dtype: str = "float32", remat: bool = False,
) -> ScoreNetwork:  # fmt: skip
    """Build an `NCSNpp` for images of ``shape`` ``(height, width, channels)``; the
    defaults are NCSN++ for CIFAR-10.

    DDPM++ is ``fir=False, progressive_input="none", embedding_type="positional"``.

    Args:
        shape: the shape of one image; height and width must halve ``len(ch_mult) - 1``
            times without remainder.
        nf: the number of channels at full resolution; a multiple of 4.
        ch_mult: for each level, its channels as a multiple of ``nf``.
        num_res_blocks: residual blocks of a level on the way down, and one more upwards.
        attn_resolutions: the heights of the image at which there is attention; the
            middle always has it.
        dropout: the rate of dropout in each residual block.
        resamp_with_conv: whether levels are resampled by convolutions, for
            ``resblock_type="ddpm"``.
        conditional: whether the network is conditioned on noise level and class.
        fir: whether to filter when resampling, rather than to average and repeat.
        fir_kernel: the filter, of 4 or more weights, an even number of them.
        skip_rescale: whether sums of two branches are divided by the root of two.
        resblock_type: ``ddpm``, or ``biggan``, whose blocks resample too.
        progressive: the pyramid of the output: ``none``, ``output_skip`` or
            ``residual``.
        progressive_input: the pyramid of the input: ``none``, ``input_skip`` or
            ``residual``.
        progressive_combine: how ``input_skip`` joins: ``sum`` or ``cat``.
        embedding_type: ``fourier`` for labels that are noise levels, whose logarithm is
            embedded, or are logarithms of them (``log_noise_to_signal``);
            ``positional`` for labels of the order of 0 to 1000.
        fourier_scale: the standard deviation of the random frequencies.
        init_scale: the variance that the last layer of each block starts with; 0 for
            almost nothing.
        nonlinearity: ``elu``, ``relu``, ``lrelu`` or ``swish``.
        scale_by_sigma: whether to divide the output by the noise level: the label, or
            what it counts in the table.
        sigma_min: the least noise level of that table.
        sigma_max: the greatest.
        num_scales: how many there are.
        rescale_input: whether images come in [0, 1] and are mapped to [-1, 1] first.
        num_classes: the number of class labels, or None.
        diffusers_groups: whether attention, and blocks before it on the way up, take 32
            groups, as in diffusers.
        dtype: the type computed in; the parameters are float32.
        remat: whether to recompute residual blocks on the way back, for less memory.

    Raises:
        ValueError: an argument is out of its range, or the image does not fit the
            levels.
    """
    fourier = options.one_of("embedding_type", embedding_type, EMBEDDING_TYPES) == "fourier"
    has_table = scale_by_sigma and not fourier
    module = NCSNpp(
        style=_style(nonlinearity, dropout, fir, fir_kernel, skip_rescale, init_scale, dtype),
        **_sizes(nf, ch_mult, num_res_blocks, attn_resolutions),
        **_kinds(resblock_type, progressive, progressive_input, progressive_combine),
        resamp_with_conv=resamp_with_conv,
        conditional=conditional,
        fourier_scale=options.positive("fourier_scale", fourier_scale) if fourier else None,
        sigmas=descending_sigmas(num_scales, sigma_min, sigma_max) if has_table else None,
        scale_by_sigma=scale_by_sigma,
        rescale_input=rescale_input,
        num_classes=options.at_least_or_none("num_classes", num_classes, 1),
        diffusers_groups=diffusers_groups,
        remat=remat,
    )
    shape = options.image("NCSN++", shape, levels=len(module.ch_mult), key="ch_mult")
    kind = class_label(num_classes, conditional)
    return from_linen(module, shape, condition=kind, labels=_labels(module))


EMBEDDING_TYPES = ("fourier", "positional")
"""The time embeddings that this network may be built with, by name."""


def _style(
    nonlinearity: str,
    dropout: float,
    fir: bool,
    fir_kernel: Sequence[int | float],
    skip_rescale: bool,
    init_scale: float,
    dtype: str,
) -> Style:
    """What all layers of a network share."""
    return Style(
        nonlinearity=options.one_of("nonlinearity", nonlinearity, NONLINEARITIES),
        dropout=options.rate("dropout", dropout),
        fir_kernel=options.fir_kernel("fir_kernel", fir_kernel) if fir else None,
        skip_rescale=skip_rescale,
        init_scale=options.not_negative("init_scale", init_scale),
        dtype=options.one_of("dtype", dtype, options.DTYPES),
    )


def _sizes(
    nf: int, ch_mult: Sequence[int], num_res_blocks: int, attn_resolutions: Sequence[int]
) -> dict[str, Any]:
    """The fields of a network that say how large it is."""
    return {
        "nf": options.even("nf", nf, 4),
        "ch_mult": options.all_at_least("ch_mult", ch_mult, 1),
        "num_res_blocks": options.at_least("num_res_blocks", num_res_blocks, 1),
        "attn_resolutions": options.each_at_least("attn_resolutions", attn_resolutions, 1),
    }


def _kinds(
    resblock_type: str, progressive: str, progressive_input: str, progressive_combine: str
) -> dict[str, Any]:
    """The fields of a network that choose its blocks and its pyramids."""
    return {
        "resblock_type": options.one_of("resblock_type", resblock_type, ("ddpm", "biggan")),
        "progressive": options.one_of(
            "progressive", progressive, ("none", "output_skip", "residual")
        ),
        "progressive_input": options.one_of(
            "progressive_input", progressive_input, ("none", "input_skip", "residual")
        ),
        "progressive_combine": options.one_of(
            "progressive_combine", progressive_combine, ("sum", "cat")
        ),
    }


def _labels(module: NCSNpp) -> Labels | None:
    if module.sigmas is not None:
        return LevelLabels(network="NCSN++ with scale_by_sigma", num_scales=len(module.sigmas))
    if module.fourier_scale is None or not (module.conditional or module.scale_by_sigma):
        return None
    return PositiveLabels(
        network="NCSN++ with embedding_type='fourier'", divides=module.scale_by_sigma
    )
