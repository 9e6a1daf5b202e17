"""The U-Net of DDPM (Ho et al. 2020)."""

import math
from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from score_sde import checks
from score_sde.models.base import ScoreNetwork, named
from score_sde.models.blocks import Attention, BlockOptions, TimeFeatures, conv
from score_sde.models.published_unet import PublishedUNet, network_of, sizes, table_of_sigmas


class DDPMNet(PublishedUNet):
    """Residual blocks at falling, then rising resolution, each rising block joined to a
    falling one.

    The last convolution starts at zero. Source: Ho et al. 2020
    (https://arxiv.org/abs/2006.11239), appendix B.

    Attributes:
        attend_every_block: whether attention follows every block on the way up (Ho et
            al.) or a level's last (Song et al.).
        attend_in_middle: whether there is attention in the middle, whatever its height.
        label_required: whether a call without a condition is an error.
    """

    attend_every_block: bool
    attend_in_middle: bool
    label_required: bool

    def _embedded(
        self,
        t: Float[Array, " b"],
        condition: Integer[Array, " b"] | None,
        present: Bool[Array, " b"] | None,
    ) -> Float[Array, "b d"] | None:
        checks.require(
            condition is not None or not self.label_required,
            "this network was trained with class labels only: give it a condition, as "
            "make_score_fn(model.sde, model.network, model.parameterization, model.params, "
            "condition=0)",
        )
        return super()._embedded(t, condition, present)

    def _output_of(
        self, image: Float[Array, "b h w c"], embedded: Float[Array, "b d"] | None, train: bool
    ) -> Float[Array, "b h w c"]:
        skips = [conv(self.nf, self.options, "conv_in")(image)]
        for level, mult in enumerate(self.ch_mult):
            for i in range(self.num_res_blocks):
                h = self._block(self.nf * mult, f"down_{level}_{i}")(skips[-1], embedded, train)
                skips.append(self._attend(h, f"down_{level}_{i}_attention"))
            if level < len(self.ch_mult) - 1:
                skips.append(self._smaller(skips[-1], f"shrink_{level}"))
        h = skips[-1]
        h = self._block(h.shape[-1], "middle_0")(h, embedded, train)
        h = Attention(self.options, name="middle_attention")(h) if self.attend_in_middle else h
        h = self._block(h.shape[-1], "middle_1")(h, embedded, train)
        for level in reversed(range(len(self.ch_mult))):
            for i in range(self.num_res_blocks + 1):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = self._block(self.nf * self.ch_mult[level], f"up_{level}_{i}")(
                    h, embedded, train
                )
                h = self._attend(h, f"up_{level}_{i}_attention") if self.attend_every_block else h
            h = h if self.attend_every_block else self._attend(h, f"up_{level}_attention")
            if level > 0:
                h = self._larger(h, f"grow_{level}")
        h = self.options.act(self.options.norm("norm_out")(h))
        return conv(image.shape[-1], self.options, "conv_out", scale=0.0)(h)


@named
def ddpm(
    shape: Sequence[int], *, nf: int = 128, ch_mult: Sequence[int] = (1, 2, 2, 2),
    num_res_blocks: int = 2, attn_resolutions: Sequence[int] = (16,), dropout: float = 0.1,
    resamp_with_conv: bool = True, conditional: bool = True, nonlinearity: str = "swish",
    scale_by_sigma: bool = False, sigma_min: float = 0.01, sigma_max: float = 50.0,
    num_scales: int = 1000, rescale_input: bool = False, num_classes: int | None = None,
    num_groups: int | None = None, attend_every_block: bool = False, attend_in_middle: bool = True,
    attention_head_dim: int | None = None, norm_eps: float = 1e-6, pad_both_sides: bool = False,
    freq_shift: float = 1.0, cosine_first: bool = False, label_required: bool = False,
    dtype: str = "float32", remat: bool = False,
) -> ScoreNetwork:  # fmt: skip
    """Build a `DDPMNet` for images of ``shape`` ``(height, width, channels)``.

    Args:
        shape: the shape of one image; height and width must halve ``len(ch_mult) - 1``
            times without remainder.
        nf: the number of channels at full resolution; even, and a multiple of
            ``num_groups``.
        ch_mult: for each level, its channels as a multiple of ``nf``.
        num_res_blocks: residual blocks of a level on the way down; there is one more on
            the way up.
        attn_resolutions: the heights of the image at which there is attention.
        dropout: the rate of dropout in each residual block.
        resamp_with_conv: whether levels are resampled by convolutions.
        conditional: whether the network is conditioned on noise level and class.
        nonlinearity: ``elu``, ``relu``, ``lrelu`` or ``swish``.
        scale_by_sigma: whether to divide the output by a noise level from a geometric
            table, whose index, from the greatest level, is the time label.
        sigma_min: the least noise level of the table.
        sigma_max: the greatest noise level of the table.
        num_scales: the number of noise levels of the table.
        rescale_input: whether images come in [0, 1] and are mapped to [-1, 1] first.
        num_classes: the number of class labels, or None.
        num_groups: the groups of each normalisation; None for 32, but 8 where a level
            has 32 channels.
        attend_every_block: whether attention follows every block on the way up (Ho et
            al. 2020) or only the last of a level (Song et al. 2021).
        attend_in_middle: whether there is attention in the middle, whatever its height.
        attention_head_dim: the channels of an attention head; None for a single head.
        norm_eps: added to the variance of a group.
        pad_both_sides: whether strided convolutions pad every side of the image, rather
            than the right and the bottom.
        freq_shift: of the time embedding; 1 for frequencies down to 1e-4.
        cosine_first: whether cosines come before sines in the time embedding.
        label_required: whether a call without a condition is an error, for a network
            that was always trained with one.
        dtype: the type computed in; the parameters are float32.
        remat: whether the backward pass recomputes residual blocks, for less memory.

    Raises:
        ValueError: an argument is out of range, or the image does not fit the levels.
    """
    size = sizes(nf, ch_mult, num_res_blocks, attn_resolutions)
    if not freq_shift < nf / 2:
        checks.fail("freq_shift", freq_shift, f"less than {nf / 2:g}", "half of nf")
    module = DDPMNet(
        options=BlockOptions(
            nonlinearity=nonlinearity,
            dropout=dropout,
            num_groups=_num_groups(num_groups, size["nf"], size["ch_mult"]),
            norm_eps=norm_eps,
            attention_head_dim=attention_head_dim,
            pad_both_sides=pad_both_sides,
            dtype=dtype,
        ),
        features=TimeFeatures(freq_shift=freq_shift, cosine_first=cosine_first),
        **size,
        resamp_with_conv=resamp_with_conv,
        conditional=conditional,
        sigmas=table_of_sigmas(scale_by_sigma, num_scales, sigma_min, sigma_max),
        scale_by_sigma=scale_by_sigma,
        rescale_input=rescale_input,
        num_classes=num_classes,
        remat=remat,
        attend_every_block=attend_every_block,
        attend_in_middle=attend_in_middle,
        label_required=label_required,
    )
    return network_of(module, shape, "DDPM")


MOST_GROUPS = 32
"""The number of groups of a normalisation, unless a level is too narrow."""

LEAST_CHANNELS = 4
"""The number of channels of a group where `MOST_GROUPS` would have one channel each."""


def _num_groups(num_groups: int | None, nf: int, ch_mult: tuple[int, ...]) -> int:
    """The number of groups of a normalisation.

    With 32 groups of one channel each, normalisation would cancel what the embedding of
    the time adds to a channel.

    Raises:
        ValueError: they do not divide the channels.
    """
    groups = MOST_GROUPS if num_groups is None else num_groups
    checks.whole(1, num_groups=groups)
    if nf % groups:
        divisor = math.gcd(nf, MOST_GROUPS // LEAST_CHANNELS)
        because = f"the groups of each normalisation; num_groups={divisor} would do"
        checks.fail("nf", nf, f"a multiple of {groups}", because)
    narrowest = nf * min(ch_mult)
    return narrowest // LEAST_CHANNELS if num_groups is None and narrowest == groups else groups
