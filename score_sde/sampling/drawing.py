"""The functions that draw, encode and decode."""

import jax
from jaxtyping import Array, ArrayLike, Float, Shaped

from score_sde.precision import as_state, wide
from score_sde.sampling.adaptive import ProbabilityFlow
from score_sde.sampling.base import Sample, Sampler
from score_sde.sampling.thresholding import Threshold, thresholded
from score_sde.sdes import SDE, prior_sample
from score_sde.sdes import denoise as tweedie
from score_sde.solvers.integrate import Progress
from score_sde.typing import Key, ScoreFn


def sample(
    key: Key,
    sde: SDE,
    score_fn: ScoreFn,
    sampler: Sampler,
    shape: tuple[int, ...],
    *,
    denoise: bool = True,
    save_path: int = 0,
    threshold: Threshold | None = None,
    progress: Progress | None = None,
) -> Sample:
    """Draw one sample of shape ``shape``: a latent from the prior, carried to ``t_min``
    by ``sampler``.

    Args:
        key: the only source of randomness.
        sde: the forward SDE.
        score_fn: ``(x, t) -> grad_x log p_t(x)``.
        sampler: how to integrate.
        shape: the shape of one sample.
        denoise: end with Tweedie's formula, ``E[x_0 | x]``, at the time where the
            sampler ended, for one more evaluation, unless it has ended with the data.
        save_path: the number of frames of the trajectory to return (0: none); the last
            is where the sampler ended.
        threshold: keeps the denoised image in the range of the data, at every
            evaluation.
        progress: is called on the host about twenty times, with the part of the steps
            that is done.
    """
    prior_key, solver_key = jax.random.split(key)
    latent = prior_sample(prior_key, sde, shape)
    score_fn = score_fn if threshold is None else thresholded(sde, score_fn, threshold)
    result = sampler.solve(
        solver_key, sde, score_fn, latent, save_path=save_path, progress=progress
    )
    if not denoise or sampler.ends_at_data:
        return result
    return Sample(_denoised(sde, score_fn, sampler, result.x), result.nfe + 1, result.path)


def encode(
    sde: SDE,
    score_fn: ScoreFn,
    x: Shaped[ArrayLike, "*shape"],
    *,
    sampler: ProbabilityFlow | None = None,
) -> Float[Array, "*shape"]:
    """The latent of one sample: the probability-flow ODE from ``t_min`` to ``t_max``
    (Song et al. 2021, sec. 4.3).

    It has the floating-point type of ``x``, and is computed in float32 at least.
    """
    flow = sampler or ProbabilityFlow()
    return as_state(flow.solve_between(sde, score_fn, x, sde.t_min, sde.t_max).y, x)


def decode(
    sde: SDE,
    score_fn: ScoreFn,
    latent: Shaped[ArrayLike, "*shape"],
    *,
    sampler: Sampler | None = None,
    key: Key | None = None,
    denoise: bool = False,
) -> Float[Array, "*shape"]:
    """The sample at ``t_min`` of a latent at ``t_max``; with the default probability
    flow, the inverse of ``encode``.

    `default_sampler` decodes with few evaluations, to the data themselves. A stochastic
    ``sampler`` needs a ``key``. ``denoise`` ends with Tweedie's formula at the time
    where the sampler ended, unless it has ended with the data. The sample has the
    floating-point type of ``latent``, and is computed in float32 at least.
    """
    sampler = sampler or ProbabilityFlow()
    x = sampler.solve(key, sde, score_fn, wide(latent, "latent")).x
    return as_state(
        _denoised(sde, score_fn, sampler, x) if denoise and not sampler.ends_at_data else x, latent
    )


def _denoised(
    sde: SDE, score_fn: ScoreFn, sampler: Sampler, x: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """``E[x_0 | x]`` where the sampler has ended."""
    return tweedie(sde, score_fn, x, sampler.last_time(sde))
