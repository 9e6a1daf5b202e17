"""NCSN, the noise-conditional RefineNet of Song & Ermon 2019
(https://arxiv.org/abs/1907.05600), appendix A.
"""

from collections.abc import Sequence

from score_sde.models.base import ScoreNetwork, named
from score_sde.models.labels import LevelLabels
from score_sde.models.ncsnv2 import STAGES
from score_sde.models.refinenet import RefineNetOptions, geometric_sigmas, refine_net


@named
def ncsn(
    shape: Sequence[int],
    *,
    nf: int = 128,
    num_scales: int = 10,
    sigma_min: float = 0.01,
    sigma_max: float = 1.0,
    nonlinearity: str = "elu",
    normalization: str = "InstanceNorm++",
    interpolation: str = "bilinear",
    scale_by_sigma: bool = False,
    rescale_input: bool = True,
    dtype: str = "float32",
    remat: bool = False,
) -> ScoreNetwork:
    """Build a `RefineNet` whose every normalisation has parameters of its own for each
    noise level.

    The time label is the index of a noise level in the geometric table that falls from
    ``sigma_max`` to ``sigma_min``.

    Args:
        shape: the shape ``(height, width, channels)`` of one image; height and width
            must be even.
        nf: the number of channels at full resolution.
        num_scales: the number of noise levels.
        sigma_min: the last and least noise level.
        sigma_max: the first and greatest noise level. Both have an effect with
            ``scale_by_sigma`` only.
        nonlinearity: one of `score_sde.models.refinenet.NONLINEARITIES`.
        normalization: ``InstanceNorm++``.
        interpolation: how coarse levels are enlarged, ``bilinear`` or
            ``nearest_neighbor``.
        scale_by_sigma: whether to divide the output by the noise level. The published
            network does not: it learns the score itself.
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
        num_scales=len(sigmas),
        interpolation=interpolation,
        dtype=dtype,
    )
    return refine_net(
        shape,
        STAGES[64],
        options,
        nf=nf,
        sigmas=sigmas,
        scale_by_sigma=scale_by_sigma,
        rescale_input=rescale_input,
        remat=remat,
        labels=LevelLabels(network="NCSN", num_scales=len(sigmas)),
    )
