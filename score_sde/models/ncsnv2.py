"""NCSNv2, the RefineNets of Song & Ermon 2020 (https://arxiv.org/abs/2006.09011),
appendix B.
"""

from collections.abc import Sequence

from score_sde import checks
from score_sde.models.base import ScoreNetwork, named
from score_sde.models.labels import LevelLabels
from score_sde.models.refinenet import RefineNetOptions, Stage, geometric_sigmas, refine_net

STAGES: dict[int, tuple[Stage, ...]] = {
    64: (Stage(1), Stage(2, down=True), Stage(2, dilation=2), Stage(2, dilation=4)),
    128: (
        Stage(1),
        Stage(2, down=True),
        Stage(2, down=True),
        Stage(4, dilation=2),
        Stage(4, dilation=4),
    ),
    256: (
        Stage(1),
        Stage(2, down=True),
        Stage(2, down=True),
        Stage(2, down=True),
        Stage(4, dilation=2),
        Stage(4, dilation=4),
    ),
}
"""The stages of the architecture for images of up to each size."""


@named
def ncsnv2(
    shape: Sequence[int],
    *,
    resolution: int | None = None,
    nf: int = 128,
    num_scales: int = 232,
    sigma_min: float = 0.01,
    sigma_max: float = 50.0,
    nonlinearity: str = "elu",
    normalization: str = "InstanceNorm++",
    interpolation: str = "bilinear",
    scale_by_sigma: bool = True,
    rescale_input: bool = True,
    dtype: str = "float32",
    remat: bool = False,
) -> ScoreNetwork:
    """Build a `RefineNet` that depends on the noise level only by the division of its
    output.

    The time label is the index of a noise level in the geometric table that falls from
    ``sigma_max`` to ``sigma_min``.

    Args:
        shape: the shape ``(height, width, channels)`` of one image; height and width
            must be divisible by 2, 4 or 8 for the ``resolution`` 64, 128 or 256.
        resolution: the architecture: 64 (4 stages), 128 (5) or 256 (6). None takes the
            smallest that fits the longer side of the image, and 256 for larger images.
        nf: the number of channels at full resolution.
        num_scales: the number of noise levels.
        sigma_min: the last and least noise level.
        sigma_max: the first and greatest noise level.
        nonlinearity: one of `score_sde.models.refinenet.NONLINEARITIES`.
        normalization: one of `score_sde.models.instance_norm.NORMALIZATIONS`.
        interpolation: how coarse levels are enlarged, ``bilinear`` or
            ``nearest_neighbor``.
        scale_by_sigma: whether to divide the output by the noise level, which makes it
            a score.
        rescale_input: whether images come in [0, 1] and are mapped to [-1, 1] first.
        dtype: the type computed in; the parameters are float32.
        remat: whether to recompute the blocks in the backward pass, for less memory.

    Raises:
        ValueError: an argument is out of its range, or the image does not fit the
            architecture.
    """
    sigmas = geometric_sigmas(sigma_min, sigma_max, num_scales)
    options = RefineNetOptions(
        nonlinearity=nonlinearity,
        normalization=normalization,
        interpolation=interpolation,
        dtype=dtype,
    )
    labels = LevelLabels(network="NCSNv2", num_scales=len(sigmas)) if scale_by_sigma else None
    return refine_net(
        shape,
        stages_for(shape, resolution),
        options,
        nf=nf,
        sigmas=sigmas,
        scale_by_sigma=scale_by_sigma,
        rescale_input=rescale_input,
        remat=remat,
        labels=labels,
    )


def stages_for(shape: Sequence[int], resolution: int | None) -> tuple[Stage, ...]:
    """The stages of the architecture ``resolution``; for None, of the architecture that
    fits images of ``shape``.

    Raises:
        ValueError: there is no architecture ``resolution``.
    """
    checks.one_of((*STAGES, None), resolution=resolution)
    if resolution is not None:
        return STAGES[resolution]
    fitting = (stages for size, stages in STAGES.items() if max(shape[:2], default=0) <= size)
    return next(fitting, STAGES[256])
