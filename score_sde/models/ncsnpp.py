"""NCSN++ and DDPM++ (Song et al. 2021): one network with many options."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from score_sde import checks
from score_sde.models import arguments
from score_sde.models.base import ScoreNetwork, named
from score_sde.models.blocks import (
    Attention,
    BlockOptions,
    Downsample,
    TimeFeatures,
    Upsample,
    conv,
)
from score_sde.models.published_unet import PublishedUNet, network_of, sizes, table_of_sigmas


class NCSNpp(PublishedUNet):
    """A U-Net of residual blocks, with pyramids of the input and of the output beside
    it.

    Source: Song et al. 2021 (https://arxiv.org/abs/2011.13456), section 4.1 and
    appendix H.

    Attributes:
        resblock_type: whether residual blocks resample (``biggan``) or not (``ddpm``).
        progressive: the pyramid of the output, which grows level by level on the way
            up.
        progressive_input: the pyramid of the input, of which the halved image is added
            to every level on the way down.
        progressive_combine: how ``input_skip`` joins: ``sum`` or ``cat``.
        diffusers_groups: whether normalisations with attention have 32 groups.
    """

    resblock_type: str
    progressive: str
    progressive_input: str
    progressive_combine: str
    diffusers_groups: bool

    def _output_of(
        self, image: Float[Array, "b h w c"], embedded: Float[Array, "b d"] | None, train: bool
    ) -> Float[Array, "b h w c"]:
        skips = self._down(image, embedded, train)
        h = self._block(skips[-1].shape[-1], "middle_0")(skips[-1], embedded, train)
        h = Attention(self.options, name="middle_attention")(h)
        h = self._block(h.shape[-1], "middle_1")(h, embedded, train)
        return self._up(h, skips, embedded, image.shape[-1], train)

    @property
    def _groups_with_attention(self) -> int | None:
        """The groups of normalisations at resolutions with attention; None for as many
        as elsewhere.
        """
        return 32 if self.diffusers_groups else None

    def _down(self, image: Array, embedded: Array | None, train: bool) -> list[Array]:
        """The activations on the way down, from the first convolution to the smallest
        size.
        """
        skips, pyramid = [conv(self.nf, self.options, "conv_in")(image)], image
        groups = self._groups_with_attention
        for level, mult in enumerate(self.ch_mult):
            for i in range(self.num_res_blocks):
                h = self._block(self.nf * mult, f"down_{level}_{i}")(skips[-1], embedded, train)
                skips.append(self._attend(h, f"down_{level}_{i}_attention", groups))
            if level < len(self.ch_mult) - 1:
                h = self._halved(skips[-1], embedded, train, level)
                if self.progressive_input != "none":
                    h, pyramid = self._joined(pyramid, h, level)
                skips.append(h)
        return skips

    def _halved(self, h: Array, embedded: Array | None, train: bool, level: int) -> Array:
        if self.resblock_type == "biggan":
            return self._block(h.shape[-1], f"shrink_{level}", "down")(h, embedded, train)
        return self._smaller(h, f"shrink_{level}")

    def _joined(self, pyramid: Array, h: Array, level: int) -> tuple[Array, Array]:
        """``h`` with the halved input, and that input."""
        if self.progressive_input == "residual":
            smaller = Downsample(self.options, h.shape[-1], name=f"input_{level}")(pyramid)
            joined = self.options.add(smaller, h)
            return joined, joined
        smaller = self.options.downsampled(pyramid)
        mapped = conv(h.shape[-1], self.options, f"input_{level}", size=1)(smaller)
        joined = (
            mapped + h
            if self.progressive_combine == "sum"
            else jnp.concatenate([mapped, h], axis=-1)
        )
        return joined, smaller

    def _up(
        self, h: Array, skips: list[Array], embedded: Array | None, channels: int, train: bool
    ) -> Array:
        """The way up, from the smallest size to the output."""
        pyramid, groups = None, self._groups_with_attention
        for level in reversed(range(len(self.ch_mult))):
            for i in range(self.num_res_blocks + 1):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                block = self._block(
                    self.nf * self.ch_mult[level],
                    f"up_{level}_{i}",
                    groups=groups if h.shape[1] in self.attn_resolutions else None,
                )
                h = block(h, embedded, train)
            h = self._attend(h, f"up_{level}_attention", groups)
            if self.progressive == "output_skip":
                pyramid = self._output(h, pyramid, channels, level)
            elif self.progressive == "residual":
                h, pyramid = self._grown(h, pyramid, level)
            if level > 0:
                h = self._doubled(h, embedded, train, level)
        if self.progressive == "output_skip" and pyramid is not None:
            return pyramid
        h = self.options.act(self.options.norm("norm_out")(h))
        return conv(channels, self.options, "conv_out", scale=self.options.init_scale)(h)

    def _doubled(self, h: Array, embedded: Array | None, train: bool, level: int) -> Array:
        if self.resblock_type == "biggan":
            return self._block(h.shape[-1], f"grow_{level}", "up")(h, embedded, train)
        return self._larger(h, f"grow_{level}")

    def _output(self, h: Array, pyramid: Array | None, channels: int, level: int) -> Array:
        """The output pyramid at the size of ``h``: the pyramid of the level before,
        doubled, plus the contribution of this level.
        """
        h = self.options.act(self.options.norm(f"output_{level}_norm")(h))
        new = conv(channels, self.options, f"output_{level}", scale=self.options.init_scale)(h)
        return new if pyramid is None else self.options.upsampled(pyramid) + new

    def _grown(self, h: Array, pyramid: Array | None, level: int) -> tuple[Array, Array]:
        """``h`` and the residual pyramid of the output; they differ at the smallest
        size only.
        """
        if pyramid is None:
            normed = self.options.act(self.options.norm(f"output_{level}_norm")(h))
            return h, conv(h.shape[-1], self.options, f"output_{level}")(normed)
        joined = self.options.add(
            Upsample(self.options, h.shape[-1], name=f"output_{level}")(pyramid), h
        )
        return joined, joined


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
        nf: the number of channels at full resolution; even, 4 or more.
        ch_mult: for each level, its channels as a multiple of ``nf``.
        num_res_blocks: residual blocks of a level on the way down; there is one more on
            the way up.
        attn_resolutions: the heights of the image at which there is attention; the
            middle always has it.
        dropout: the rate of dropout in each residual block.
        resamp_with_conv: whether convolutions resample levels of ``ddpm`` blocks.
        conditional: whether the network is conditioned on noise level and class.
        fir: whether resampling filters, rather than averages and repeats.
        fir_kernel: the filter: an even number of weights, 4 or more.
        skip_rescale: whether sums of two branches are divided by the root of two.
        resblock_type: ``ddpm``, or ``biggan``, whose blocks resample too.
        progressive: the output pyramid: ``none``, ``output_skip`` or ``residual``.
        progressive_input: the input pyramid: ``none``, ``input_skip`` or ``residual``.
        progressive_combine: how ``input_skip`` joins: ``sum`` or ``cat``.
        embedding_type: ``fourier`` for labels that are noise levels, whose logarithm is
            embedded, or their logarithms (``log_noise_to_signal``); ``positional`` for
            labels of the order of 0 to 1000.
        fourier_scale: the standard deviation of the random frequencies.
        init_scale: the initial variance of each block's last layer; 0 stands for 1e-10.
        nonlinearity: ``elu``, ``relu``, ``lrelu`` or ``swish``.
        scale_by_sigma: whether to divide the output by the noise level: the label or,
            with ``positional``, the level of this index in a table, greatest first.
        sigma_min: the least noise level of the table.
        sigma_max: the greatest noise level of the table.
        num_scales: the number of noise levels of the table.
        rescale_input: whether images come in [0, 1] and are mapped to [-1, 1] first.
        num_classes: the number of class labels, or None.
        diffusers_groups: whether the normalisations of attention, and of blocks before
            it on the way up, have 32 groups, as in diffusers.
        dtype: the type computed in; the parameters are float32.
        remat: whether the backward pass recomputes residual blocks, for less memory.

    Raises:
        ValueError: an argument is out of range, or the image does not fit the levels.
    """
    has_table = scale_by_sigma and embedding_type == "positional"
    module = NCSNpp(
        options=BlockOptions(
            nonlinearity=nonlinearity,
            dropout=dropout,
            fir_kernel=arguments.fir_kernel(fir_kernel) if fir else None,
            skip_rescale=skip_rescale,
            init_scale=init_scale,
            dtype=dtype,
        ),
        features=_features(embedding_type, fourier_scale),
        **sizes(nf, ch_mult, num_res_blocks, attn_resolutions),
        resamp_with_conv=resamp_with_conv,
        conditional=conditional,
        sigmas=table_of_sigmas(has_table, num_scales, sigma_min, sigma_max),
        scale_by_sigma=scale_by_sigma,
        rescale_input=rescale_input,
        num_classes=num_classes,
        remat=remat,
        **_kinds(resblock_type, progressive, progressive_input, progressive_combine),
        diffusers_groups=diffusers_groups,
    )
    return network_of(module, shape, "NCSN++")


def _features(embedding_type: str, fourier_scale: float) -> TimeFeatures:
    checks.one_of(("fourier", "positional"), embedding_type=embedding_type)
    if embedding_type == "positional":
        return TimeFeatures()
    checks.positive(fourier_scale=fourier_scale)
    return TimeFeatures(fourier_scale=fourier_scale)


def _kinds(
    resblock_type: str, progressive: str, progressive_input: str, progressive_combine: str
) -> dict[str, Any]:
    """The fields that choose the blocks and the pyramids."""
    checks.one_of(("ddpm", "biggan"), resblock_type=resblock_type)
    checks.one_of(("none", "output_skip", "residual"), progressive=progressive)
    checks.one_of(("none", "input_skip", "residual"), progressive_input=progressive_input)
    checks.one_of(("sum", "cat"), progressive_combine=progressive_combine)
    return {
        "resblock_type": resblock_type,
        "progressive": progressive,
        "progressive_input": progressive_input,
        "progressive_combine": progressive_combine,
    }
