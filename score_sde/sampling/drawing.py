"""Drawing, encoding and decoding one example."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from score_sde import checks
from score_sde.precision import as_state, wide
from score_sde.sampling.adaptive import ProbabilityFlow
from score_sde.sampling.base import Sample, Sampler
from score_sde.sampling.problem import static_time
from score_sde.sampling.projection import Projection, finished, started
from score_sde.sampling.thresholding import Threshold, thresholded
from score_sde.sdes import SDE, denoise as tweedie, perturb, prior_sample
from score_sde.solvers.integrate import ProgressFn
from score_sde.typing import Key, SampleLike, ScalarLike, ScoreFn


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
    progress: ProgressFn | None = None,
    x_init: SampleLike | None = None,
    t_start: ScalarLike | None = None,
    projection: Projection | None = None,
) -> Sample:
    """Draw one sample of shape ``shape``: a latent from the prior, carried to ``t_min``
    by ``sampler``.

    With ``x_init`` the sample is a variation of that example (SDEdit, Meng et al. 2022,
    algorithm 1): the solve starts from ``alpha x_init + sigma z`` at ``t_start``. The
    greater ``t_start``, the less of the example remains. The sample then has the
    floating-point type of ``x_init``.

    >>> import jax, score_sde as ss
    >>> score_fn = lambda x, t: -x  # of N(0, 1), which VP keeps
    >>> sampler = ss.Heun(num_steps=4)
    >>> drawn = ss.sample(jax.random.key(0), ss.VPSDE(), score_fn, sampler, (2,))
    >>> drawn.x.shape, int(drawn.nfe)  # two evaluations a step, one to denoise
    ((2,), 9)

    Args:
        key: the only source of randomness.
        sde: the forward SDE.
        score_fn: ``(x, t) -> grad_x log p_t(x)``.
        sampler: the method.
        shape: the shape of one sample.
        denoise: end with Tweedie's formula, ``E[x_0 | x]``, at the time where the
            sampler ended, for one more evaluation, unless it has ended with the data.
        save_path: the number of frames of the trajectory to return; 0 returns none. The
            last is the end of the solve, before it is denoised.
        threshold: keeps the denoised image in the range of the data, at every
            evaluation.
        progress: called on the host about twenty times, with the fraction of the steps
            done.
        x_init: an example at time 0, as the score function sees it.
        t_start: the time to which it is perturbed, a number known when the program is
            traced.
        projection: a constraint on the latent, on the state after every step and on the
            denoised sample; for single-step samplers on a fixed grid.

    Raises:
        ValueError: only one of ``x_init`` and ``t_start`` is given, or ``x_init`` has
            another shape; and as `Sampler.solve` does.
    """
    prior_key, solver_key = jax.random.split(key)
    latent = _latent(prior_key, sde, shape, x_init, t_start)
    score_fn = score_fn if threshold is None else thresholded(sde, score_fn, threshold)
    options: dict[str, Any] = {} if t_start is None else {"t_start": t_start}
    if projection is not None:
        options["projection"] = projection
        latent = started(projection, solver_key, latent, sde.t_max if t_start is None else t_start)
    result = sampler.solve(
        solver_key, sde, score_fn, latent, save_path=save_path, progress=progress, **options
    )
    if not denoise or sampler.ends_at_data:
        return result
    x = _denoised(sde, score_fn, sampler, result.x)
    x = x if projection is None else finished(projection, solver_key, x)
    return Sample(x, result.nfe + 1, result.path)


def _latent(
    key: Key,
    sde: SDE,
    shape: tuple[int, ...],
    x_init: SampleLike | None,
    t_start: ScalarLike | None,
) -> Float[Array, "*shape"]:
    """The latent of a draw: from the prior, or an example perturbed to ``t_start``."""
    if x_init is None and t_start is None:
        return prior_sample(key, sde, shape)
    if x_init is None:
        raise ValueError(
            f"t_start={t_start} is for a variation of an example: give x_init too, or solve from "
            "a latent of that time with sampler.solve"
        )
    if t_start is None:
        raise ValueError(
            f"x_init needs t_start, the time up to which noise covers it: above "
            f"t_min={sde.t_min:g} (hardly), at most t_max={sde.t_max:g} (all)"
        )
    checks.same_shape("x_init", jnp.shape(x_init), shape, "the sample")
    start, like = static_time(sde, t_start, "t_start"), wide(x_init, "x_init")
    return perturb(sde, x_init, start, jax.random.normal(key, like.shape, like.dtype))


def encode(
    sde: SDE,
    score_fn: ScoreFn,
    x: SampleLike,
    *,
    sampler: ProbabilityFlow | None = None,
) -> Float[Array, "*shape"]:
    """The latent of one sample: the probability-flow ODE from ``t_min`` to ``t_max``
    (Song et al. 2021, section 4.3).

    It has the floating-point type of ``x``, and is computed in float32 at least.
    `decode` is the inverse.

    >>> import jax.numpy as jnp, score_sde as ss
    >>> score_fn = lambda x, t: -x  # of N(0, 1): the flow of VP does not move
    >>> ss.encode(ss.VPSDE(), score_fn, jnp.ones(2)).round(3)
    Array([1., 1.], dtype=float32)
    """
    flow = sampler or ProbabilityFlow()
    return as_state(flow.solve_between(sde, score_fn, x, sde.t_min, sde.t_max).y, x)


def decode(
    sde: SDE,
    score_fn: ScoreFn,
    latent: SampleLike,
    *,
    sampler: Sampler | None = None,
    key: Key | None = None,
    denoise: bool = False,
) -> Float[Array, "*shape"]:
    """The sample at ``t_min`` of a latent at ``t_max``; with the default probability
    flow, the inverse of `encode`.

    `default_sampler` decodes with few evaluations, to the data. ``denoise`` ends with
    Tweedie's formula at the time where the sampler ended, unless it has ended with the
    data. The sample has the floating-point type of ``latent``, and is computed in
    float32 at least.

    >>> import jax.numpy as jnp, score_sde as ss
    >>> sampler = ss.default_sampler(nfe=20)
    >>> ss.decode(ss.VPSDE(), lambda x, t: -x, jnp.ones(2), sampler=sampler).round(1)
    Array([1., 1.], dtype=float32)

    Raises:
        ValueError: a stochastic ``sampler`` has no ``key``.
    """
    sampler = sampler or ProbabilityFlow()
    x = sampler.solve(key, sde, score_fn, wide(latent, "latent")).x
    return as_state(
        _denoised(sde, score_fn, sampler, x) if denoise and not sampler.ends_at_data else x, latent
    )


def _denoised(
    sde: SDE, score_fn: ScoreFn, sampler: Sampler, x: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """``E[x_0 | x]`` at the time where the sampler has ended."""
    return tweedie(sde, score_fn, x, sampler.last_time(sde))
