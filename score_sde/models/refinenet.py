"""RefineNets: a dilated residual network whose levels are fused from the coarsest to
the finest.

Sources: Lin et al. 2017 (https://arxiv.org/abs/1611.06612), figure 2, for the
refinement blocks; Song & Ermon 2019 (https://arxiv.org/abs/1907.05600), appendix A, and
Song & Ermon 2020 (https://arxiv.org/abs/2006.09011), appendix B, for the rest. With
``num_scales``, every normalisation is conditioned on the noise level, and the
refinement blocks have normalisations and average pooling (2019); without it, they have
no normalisation and max pooling (2020).
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Shaped

from score_sde import checks
from score_sde.models import arguments
from score_sde.models.base import ScoreNetwork, from_linen
from score_sde.models.blocks import NONLINEARITIES
from score_sde.models.instance_norm import NORMALIZATIONS, ConditionalInstanceNormPlus
from score_sde.models.labels import TimeLabels
from score_sde.models.layers import avg_pool
from score_sde.typing import Key

INTERPOLATIONS = ("bilinear", "nearest_neighbor")
"""The interpolations that enlarge coarse levels, by name."""

CONDITIONAL_NORMALIZATIONS = ("InstanceNorm++",)
"""The normalisations that depend on the noise level, by name."""


@dataclass(frozen=True, kw_only=True)
class RefineNetOptions:
    """The options that all blocks of a RefineNet share.

    Attributes:
        nonlinearity: one of `NONLINEARITIES`.
        normalization: one of `NORMALIZATIONS`, or of `CONDITIONAL_NORMALIZATIONS`.
        num_scales: the number of noise levels that normalisations are conditioned on;
            None for normalisations that do not depend on the noise level.
        interpolation: one of `INTERPOLATIONS`, by which coarse levels are enlarged.
        dtype: the type computed in.

    Raises:
        ValueError: an option is out of its range.
    """

    nonlinearity: str = "elu"
    normalization: str = "InstanceNorm++"
    num_scales: int | None = None
    interpolation: str = "bilinear"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        is_conditional = self.num_scales is not None
        normalizations = CONDITIONAL_NORMALIZATIONS if is_conditional else NORMALIZATIONS
        checks.one_of(NONLINEARITIES, nonlinearity=self.nonlinearity)
        checks.one_of(normalizations, normalization=self.normalization)
        checks.one_of(INTERPOLATIONS, interpolation=self.interpolation)
        checks.one_of(arguments.DTYPES, dtype=self.dtype)

    def act(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Apply the nonlinearity."""
        return NONLINEARITIES[self.nonlinearity](x)

    def norm(
        self, x: Float[Array, "b h w c"], level: Int[Array, " b"], name: str
    ) -> Float[Array, "b h w c"]:
        """Normalise ``x`` by a layer ``name`` of the module under construction."""
        if self.num_scales is not None:
            return ConditionalInstanceNormPlus(self.num_scales, dtype=self.dtype, name=name)(
                x, level
            )
        return NORMALIZATIONS[self.normalization](dtype=self.dtype, name=name)(x)

    def refine_norm(
        self, x: Float[Array, "b h w c"], level: Int[Array, " b"], name: str
    ) -> Float[Array, "b h w c"]:
        """`norm` where the network is conditioned on the noise level, else the
        identity.
        """
        return x if self.num_scales is None else self.norm(x, level, name)

    def conv(
        self,
        x: Float[Array, "b h w c"],
        channels: int,
        name: str,
        *,
        size: int = 3,
        dilation: int = 1,
        bias: bool = True,
    ) -> Float[Array, "b h w {channels}"]:
        """Convolve ``x`` with zero padding by a layer ``name``; weights and bias start
        uniform in ``+-fan_in^-1/2``.
        """
        bound = (size * size * x.shape[-1]) ** -0.5

        def init(
            key: Key, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32
        ) -> Shaped[Array, "..."]:
            return jax.random.uniform(key, shape, dtype, -bound, bound)

        return nn.Conv(
            channels,
            (size, size),
            kernel_dilation=dilation,
            use_bias=bias,
            dtype=self.dtype,
            kernel_init=init,
            bias_init=init,
            name=name,
        )(x)


class Stage(NamedTuple):
    """Two residual blocks of ``width * nf`` channels; ``down`` halves the size, else
    the receptive field is dilated.
    """

    width: int
    down: bool = False
    dilation: int = 1


def mean_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h//2 w//2 c"]:
    """The mean of every two by two pixels."""
    return avg_pool(x, (2, 2), strides=(2, 2))


def resize(
    x: Float[Array, "b h w c"], size: tuple[int, int], interpolation: str
) -> Float[Array, "b h2 w2 c"]:
    """Enlarge ``x`` to ``size``; bilinear interpolation keeps the corner pixels in
    place.

    It is linear in each direction, and so two products with constant matrices.
    """
    if x.shape[1:3] == size:
        return x
    if interpolation == "nearest_neighbor":
        return jax.image.resize(x, (x.shape[0], *size, x.shape[-1]), "nearest")
    rows, columns = (
        jnp.asarray(_tent(old, new), x.dtype) for old, new in zip(x.shape[1:3], size, strict=True)
    )
    return jnp.einsum("Wv,bHvc->bHWc", columns, jnp.einsum("Hu,buvc->bHvc", rows, x))


def _tent(old: int, new: int) -> np.ndarray:
    """The weights ``[new, old]`` of linear interpolation with the first and last point
    of both grids in common.
    """
    position = np.linspace(0, old - 1, new)
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(old)))


class StageBlock(nn.Module):
    """``skip(x) + conv(act(norm(conv(act(norm(x))))))``.

    The first convolution keeps the channels of the input. In the ``first`` block of a
    dilated stage, ``skip`` is a dilated 3 x 3 convolution; in the first block of a
    stage that is ``down``, ``skip`` is a 1 x 1 convolution, and `mean_pool` follows
    both branches. ``skip`` of any other block is the identity.
    """

    channels: int
    stage: Stage
    first: bool
    options: RefineNetOptions

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], level: Int[Array, " b"]
    ) -> Float[Array, "b h2 w2 channels"]:
        """Transform ``x``."""
        options, dilation = self.options, self.stage.dilation
        h = options.act(options.norm(x, level, "norm1"))
        h = options.conv(h, x.shape[-1], "conv1", dilation=dilation)
        h = options.act(options.norm(h, level, "norm2"))
        h = options.conv(h, self.channels, "conv2", dilation=dilation)
        if self.first and dilation > 1:
            x = options.conv(x, self.channels, "shortcut", dilation=dilation)
        elif self.first and self.stage.down:
            x, h = mean_pool(options.conv(x, self.channels, "shortcut", size=1)), mean_pool(h)
        return x + h


class ResidualConvUnits(nn.Module):
    """``num_units`` times ``x + conv(act(norm(conv(act(norm(x))))))``, the convolutions
    without bias.
    """

    num_units: int
    options: RefineNetOptions

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], level: Int[Array, " b"]
    ) -> Float[Array, "b h w c"]:
        """Transform ``x``."""
        for unit in range(1, self.num_units + 1):
            h = x
            for step in (1, 2):
                h = self.options.act(self.options.refine_norm(h, level, f"norm{unit}_{step}"))
                h = self.options.conv(h, x.shape[-1], f"conv{unit}_{step}", bias=False)
            x = x + h
        return x


class ChainedPooling(nn.Module):
    """``act(x)`` plus the outputs of two chained rounds of 5 x 5 pooling and
    convolution.
    """

    options: RefineNetOptions

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], level: Int[Array, " b"]
    ) -> Float[Array, "b h w c"]:
        """Transform ``x``."""
        pool = nn.max_pool if self.options.num_scales is None else avg_pool
        x = path = self.options.act(x)
        for i in (1, 2):
            path = pool(self.options.refine_norm(path, level, f"norm{i}"), (5, 5), padding="SAME")
            path = self.options.conv(path, x.shape[-1], f"conv{i}", bias=False)
            x = x + path
        return x


class RefineBlock(nn.Module):
    """Fuse a level with the coarser ones: residual units on each, their resized sum,
    pooling, residual units.
    """

    channels: int
    num_output_units: int
    options: RefineNetOptions

    @nn.compact
    def __call__(
        self, xs: Sequence[Float[Array, "b _ _ _"]], level: Int[Array, " b"]
    ) -> Float[Array, "b h w channels"]:
        """Fuse ``xs``, the first of which has the size of the output; a single input is
        neither convolved nor resized.
        """
        _, height, width, _ = xs[0].shape
        adapted = [
            ResidualConvUnits(2, self.options, name=f"adapt{i}")(x, level)
            for i, x in enumerate(xs, 1)
        ]
        if len(adapted) > 1:
            adapted = [
                self._fusable(x, level, i, (height, width)) for i, x in enumerate(adapted, 1)
            ]
        h = functools.reduce(jnp.add, adapted)
        h = ChainedPooling(self.options, name="pool")(h, level)
        return ResidualConvUnits(self.num_output_units, self.options, name="output")(h, level)

    def _fusable(
        self, x: Float[Array, "b _ _ _"], level: Int[Array, " b"], i: int, size: tuple[int, int]
    ) -> Float[Array, "b h w channels"]:
        h = self.options.conv(
            self.options.refine_norm(x, level, f"fuse_norm{i}"), self.channels, f"fuse_conv{i}"
        )
        return resize(h, size, self.options.interpolation)


class RefineNet(nn.Module):
    """Residual stages at falling size, then a refinement block for each of them from
    the coarsest to the finest.

    The refinement of a stage has the channels of the stage before it. The time label is
    the index ``0 .. num_scales-1`` of a noise level in the geometric table that falls
    from ``sigma_max`` to ``sigma_min``; with ``scale_by_sigma`` the output is divided
    by this noise level. ``rescale_input`` maps images from [0, 1] to [-1, 1] first.
    """

    nf: int
    stages: tuple[Stage, ...]
    options: RefineNetOptions
    sigmas: tuple[float, ...]
    scale_by_sigma: bool = True
    rescale_input: bool = True
    remat: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        t: Shaped[Array, " b"],
        *,
        train: bool = False,
    ) -> Float[Array, "b h w c"]:
        """Evaluate the network on a batch, ``t`` being the indices of the noise levels;
        there is no dropout.
        """
        del train
        level = jnp.round(t).astype(jnp.int32)
        h = (2 * x - 1 if self.rescale_input else x).astype(self.options.dtype)
        h = self._refined(self.options.conv(h, self.nf, "conv_in"), level)
        h = self.options.act(self.options.norm(h, level, "norm_out"))
        h = self.options.conv(h, x.shape[-1], "conv_out").astype(x.dtype)
        if not self.scale_by_sigma:
            return h
        sigma = jnp.asarray(self.sigmas, x.dtype).at[level].get(mode="fill", fill_value=jnp.nan)
        return h / sigma[:, None, None, None]

    def _refined(
        self, h: Float[Array, "b h w c"], level: Int[Array, " b"]
    ) -> Float[Array, "b h w c2"]:
        residual_block, refine_block = (
            (nn.remat(StageBlock), nn.remat(RefineBlock))
            if self.remat
            else (StageBlock, RefineBlock)
        )
        widths = [self.nf * stage.width for stage in self.stages]
        features = []
        for i, stage in enumerate(self.stages):
            for block, first in (("a", i > 0), ("b", False)):
                h = residual_block(
                    widths[i], stage, first, self.options, name=f"stage{i + 1}{block}"
                )(h, level)
            features.append(h)
        for i in reversed(range(len(self.stages))):
            coarsest = i + 1 == len(self.stages)
            channels = widths[i] if coarsest else widths[max(i - 1, 0)]
            inputs = [features[i]] if coarsest else [features[i], h]
            h = refine_block(channels, 3 if i == 0 else 1, self.options, name=f"refine{i + 1}")(
                inputs, level
            )
        return h


def refine_net(
    shape: Sequence[int],
    stages: tuple[Stage, ...],
    options: RefineNetOptions,
    *,
    nf: int,
    sigmas: tuple[float, ...],
    scale_by_sigma: bool,
    rescale_input: bool,
    remat: bool,
    labels: TimeLabels | None,
) -> ScoreNetwork:
    """The network of a `RefineNet`, whose arguments these are, for images of ``shape``.

    Raises:
        ValueError: the image does not fit the stages, or ``nf`` is less than 1.
    """
    divisor = 2 ** sum(stage.down for stage in stages)
    size = arguments.image_shape("a RefineNet", shape, divisor=divisor)
    checks.whole(1, nf=nf)
    module = RefineNet(
        nf=int(nf),
        stages=stages,
        options=options,
        sigmas=sigmas,
        scale_by_sigma=scale_by_sigma,
        rescale_input=rescale_input,
        remat=remat,
    )
    return from_linen(module, size, labels=labels)


def geometric_sigmas(sigma_min: float, sigma_max: float, num_scales: int) -> tuple[float, ...]:
    """The table of ``num_scales`` noise levels, falling geometrically from
    ``sigma_max`` to ``sigma_min``.

    Raises:
        ValueError: there is no level, or ``sigma_min`` is not positive and less than
            ``sigma_max``.
    """
    checks.positive(sigma_min=sigma_min, sigma_max=sigma_max)
    checks.increasing(sigma_min=sigma_min, sigma_max=sigma_max)
    checks.whole(1, num_scales=num_scales)
    levels = np.linspace(np.log(sigma_max), np.log(sigma_min), int(num_scales))
    return tuple(np.exp(levels).tolist())
