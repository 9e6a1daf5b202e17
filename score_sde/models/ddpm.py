"""The U-Net of DDPM (Ho et al. 2020)."""

import math
from collections.abc import Sequence

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
from score_sde.models.labels import LevelLabels, descending_sigmas


class DDPMNet(nn.Module):
    """Residual blocks at falling, then rising resolution, each rising block joined to a
    falling one.

    Source: Ho et al. 2020 (https://arxiv.org/abs/2006.11239), appendix B.
    """

    style: Style
    nf: int
    ch_mult: tuple[int, ...]
    num_res_blocks: int
    attn_resolutions: tuple[int, ...]
    resamp_with_conv: bool
    conditional: bool
    sigmas: tuple[float, ...] | None
    rescale_input: bool
    num_classes: int | None
    attend_every_block: bool
    attend_in_middle: bool
    freq_shift: float
    cosine_first: bool
    label_required: bool
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
        if self.label_required and condition is None:
            raise ValueError(
                "this network has learned images of classes alone: give it a condition, as "
                "make_score_fn(model.sde, "
                "model.network, model.parameterization, model.params, condition=0)"
            )
        embedded = self._embedded(t, condition, present) if self.conditional else None
        image = (2.0 * x - 1.0 if self.rescale_input else x).astype(self.style.dtype)
        skips = [conv(self.nf, self.style, "conv_in")(image)]
        for level, mult in enumerate(self.ch_mult):
            for i in range(self.num_res_blocks):
                h = self._block(self.nf * mult, f"down_{level}_{i}")(skips[-1], embedded, train)
                skips.append(self._attend(h, f"down_{level}_{i}_attention"))
            if level < len(self.ch_mult) - 1:
                skips.append(self._resampled(skips[-1], f"shrink_{level}", Downsample))
        h = skips[-1]
        h = self._block(h.shape[-1], "middle_0")(h, embedded, train)
        h = Attention(self.style, name="middle_attention")(h) if self.attend_in_middle else h
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
                h = self._resampled(h, f"grow_{level}", Upsample)
        h = self.style.act(self.style.norm("norm_out")(h))
        out = conv(x.shape[-1], self.style, "conv_out", scale=0.0)(h).astype(x.dtype)
        if self.sigmas is None:
            return out
        return out / jnp.asarray(self.sigmas, t.dtype)[t.astype(jnp.int32)][:, None, None, None]

    def _embedded(
        self,
        t: Float[Array, " b"],
        condition: Integer[Array, " b"] | None,
        present: Bool[Array, " b"] | None,
    ) -> Float[Array, "b d"]:
        return time_and_class_embedding(
            self.style,
            t,
            condition,
            present,
            nf=self.nf,
            fourier_scale=None,
            num_classes=self.num_classes,
            freq_shift=self.freq_shift,
            cosine_first=self.cosine_first,
        )

    def _resampled(self, h: Array, name: str, kind: type[Downsample] | type[Upsample]) -> Array:
        if self.resamp_with_conv:
            return kind(self.style, h.shape[-1], name=name)(h)
        return self.style.downsampled(h) if kind is Downsample else self.style.upsampled(h)

    def _block(self, channels: int, name: str) -> nn.Module:
        block = nn.remat(ResBlock, static_argnums=(3,)) if self.remat else ResBlock
        return block(self.style, channels, name=name)

    def _attend(self, h: Array, name: str) -> Array:
        return Attention(self.style, name=name)(h) if h.shape[1] in self.attn_resolutions else h


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
        nf: the number of channels at full resolution; a multiple of ``num_groups``.
        ch_mult: for each level, its channels as a multiple of ``nf``.
        num_res_blocks: residual blocks of a level on the way down; there is one more on
            the way up.
        attn_resolutions: the heights of the image at which there is attention.
        dropout: the rate of dropout in each residual block.
        resamp_with_conv: whether levels are resampled by convolutions.
        conditional: whether the network is conditioned on noise level and class.
        nonlinearity: ``elu``, ``relu``, ``lrelu`` or ``swish``.
        scale_by_sigma: whether to divide the output by the noise level that the label
            counts, from the greatest.
        sigma_min: the least noise level of that table.
        sigma_max: the greatest.
        num_scales: how many there are.
        rescale_input: whether images come in [0, 1] and are mapped to [-1, 1] first.
        num_classes: the number of class labels, or None.
        num_groups: of each normalisation; None for 32, but 8 where a level has 32
            channels (see `_num_groups`).
        attend_every_block: whether attention follows every block on the way up (Ho et
            al.) or a level's last (Song).
        attend_in_middle: whether there is attention in the middle, whatever its height.
        attention_head_dim: the channels of an attention head; None for one head of all
            channels.
        norm_eps: what is added to the variance of a group.
        pad_both_sides: whether the convolutions that halve the size pad every side, or
            the far ones alone.
        freq_shift: of `positional_embedding`, 1 for frequencies down to 1e-4.
        cosine_first: whether the cosines come before the sines in the embedding of the
            noise level.
        label_required: whether the network is refused without a condition, since it was
            trained with one always.
        dtype: the type computed in; the parameters are float32.
        remat: whether to recompute residual blocks on the way back, for less memory.

    Raises:
        ValueError: an argument is out of its range, or the image does not fit the
            levels.
    """
    nf, ch_mult = options.even("nf", nf, 4), options.all_at_least("ch_mult", ch_mult, 1)
    groups = _num_groups(num_groups, nf, ch_mult)
    module = DDPMNet(
        style=_style(
            nonlinearity, dropout, groups, norm_eps, attention_head_dim, pad_both_sides, dtype
        ),
        nf=nf,
        ch_mult=ch_mult,
        num_res_blocks=options.at_least("num_res_blocks", num_res_blocks, 1),
        attn_resolutions=options.each_at_least("attn_resolutions", attn_resolutions, 1),
        resamp_with_conv=resamp_with_conv,
        conditional=conditional,
        sigmas=descending_sigmas(num_scales, sigma_min, sigma_max) if scale_by_sigma else None,
        rescale_input=rescale_input,
        num_classes=options.at_least_or_none("num_classes", num_classes, 1),
        attend_every_block=attend_every_block,
        attend_in_middle=attend_in_middle,
        freq_shift=options.less("freq_shift", freq_shift, nf / 2),
        cosine_first=cosine_first,
        label_required=label_required,
        remat=remat,
    )
    size = options.image("DDPM", shape, levels=len(module.ch_mult), key="ch_mult")
    kind = class_label(num_classes, conditional)
    return from_linen(module, size, condition=kind, labels=_labels(module))


def _labels(module: DDPMNet) -> LevelLabels | None:
    """The time labels that a network takes which looks its noise levels up in a table."""
    if module.sigmas is None:
        return None
    return LevelLabels(network="DDPM with scale_by_sigma", num_scales=len(module.sigmas))


MOST_GROUPS, LEAST_CHANNELS = 32, 4
"""Of a normalisation, and of each of its groups where there are not channels enough for
two to each of the most.
"""


def _num_groups(num_groups: int | None, nf: int, ch_mult: tuple[int, ...]) -> int:
    """How many groups there are; raises ``ValueError`` where they do not divide the channels.

    With 32 groups of one channel each, normalisation would cancel what the embedding of
    the time adds to a channel.
    """
    groups = MOST_GROUPS if num_groups is None else options.at_least("num_groups", num_groups, 1)
    if nf % groups:
        raise ValueError(
            f"nf must be a multiple of {groups}, got {nf}: the network normalises in {groups} "
            "groups; "
            f"num_groups={math.gcd(nf, MOST_GROUPS // LEAST_CHANNELS)} would do"
        )
    narrowest = nf * min(ch_mult)
    return narrowest // LEAST_CHANNELS if num_groups is None and narrowest == groups else groups


def _style(
    nonlinearity: str,
    dropout: float,
    num_groups: int,
    norm_eps: float,
    head_dim: int | None,
    pad_both_sides: bool,
    dtype: str,
) -> Style:
    """What all layers of a network share."""
    return Style(
        nonlinearity=options.one_of("nonlinearity", nonlinearity, NONLINEARITIES),
        dropout=options.rate("dropout", dropout),
        num_groups=num_groups,
        norm_eps=options.positive("norm_eps", norm_eps),
        head_dim=options.at_least_or_none("attention_head_dim", head_dim, 1),
        pad_both_sides=pad_both_sides,
        dtype=options.one_of("dtype", dtype, options.DTYPES),
    )
