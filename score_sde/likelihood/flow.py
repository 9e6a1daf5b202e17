"""Exact log-likelihood by the instantaneous change of variables along the probability-flow ODE.

``log p(x) = log prior(z) + int div v(x_t, t) dt`` from ``t_min`` to ``t_max``, where
``v`` is the ODE's velocity and ``z`` the latent it ends at (Chen et al. 2018, eq. 8;
Song et al. 2021, eq. 39).
"""

import math
from dataclasses import replace
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Shaped

from score_sde.divergence import Divergence, Hutchinson, value_and_divergence
from score_sde.precision import as_state, wide
from score_sde.sampling import ProbabilityFlow, adaptive_nfe
from score_sde.sdes import SDE, prior_log_prob, probability_flow
from score_sde.solvers.integrate import Differentiate, solve_adaptively
from score_sde.typing import Key, Scalar, ScalarLike, ScoreFn


class LogLikelihood(NamedTuple):
    """The log-likelihood of one sample.

    ``log_prob``: nats, over all dimensions, at ``t_min``. ``latent``: where the ODE
    arrives at ``t_max``. ``nfe``: evaluations of the score together with its
    directional derivatives. ``std_error``: of ``log_prob`` over the probes; 0 for the
    exact trace, NaN for a single probe, whose error cannot be known. ``solver_error``:
    how far ``log_prob`` moved when the tolerances were made ten times tighter; NaN
    where that was not asked for.
    """

    log_prob: Scalar
    latent: Float[Array, "*shape"]
    nfe: Int[Array, ""]
    std_error: Scalar
    solver_error: Scalar


def log_likelihood(
    key: Key,
    sde: SDE,
    score_fn: ScoreFn,
    x: Shaped[ArrayLike, "*shape"],
    *,
    divergence: Divergence | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    solver: Literal["tsit5", "dopri5"] = "tsit5",
    max_steps: int = 4096,
    axis_name: str | None = None,
    differentiate: Differentiate = "forward",
    check_tolerance: bool = False,
) -> LogLikelihood:
    """The log density of one sample under the probability-flow ODE, in nats, at ``sde.t_min``.

    At the default tolerances the solve is within 1e-4 nats per dimension of the exact
    density of Gaussians and mixtures in 2, 64 and 768 dimensions, for every SDE of the
    package in float32: measured, the largest error in 2 dimensions is 9e-5, the median
    1e-5. Tolerances of 1e-6 bring 5e-6, and at 1e-7 float32 is no more exact.

    Args:
        key: draws the probes.
        sde: the forward SDE; ``dataclasses.replace(sde, t_min=...)`` moves the time at
            which ``x`` is taken to live.
        score_fn: ``(x, t) -> grad_x log p_t(x)``.
        x: one sample in model units; ``latent`` has its floating-point type, all else
            is float32 at least.
        divergence: a member of :mod:`score_sde.divergence`; Hutchinson's with one
            Rademacher probe by default.
        rtol: relative tolerance of the adaptive solve, for the state and the log
            density alike.
        atol: absolute tolerance, likewise.
        solver: the Runge-Kutta pair.
        max_steps: where it runs out, ``log_prob`` and ``latent`` are NaN.
        axis_name: couples the steps of all samples of a ``vmap``, ``pmap`` or
            ``shard_map`` axis.
        differentiate: ``forward``, for the result alone and for ``jax.jvp``, stores
            nothing along the way. ``reverse``, for ``jax.grad``, keeps ``sqrt(2
            max_steps)`` checkpoints of about three states each and repeats the steps
            between them: measured, 4096 steps at most take 5 times the memory of 64.
            One step's intermediate values of the network and its derivatives come on
            top. The gradient is that of the discrete solve.
        check_tolerance: solve once more with tolerances ten times tighter and the same
            probes. The result is that of the tighter solve, ``solver_error`` the
            distance between the two, which is the error of the looser one and as a rule
            far above that of the result; ``nfe`` counts both.
    """
    divergence, given, x = divergence or Hutchinson(), x, wide(x)
    probes = divergence.probes(key, x)

    flow = ProbabilityFlow(
        solver=solver, rtol=rtol, atol=atol, max_steps=max_steps, axis_name=axis_name
    )
    result = _change_of_variables(sde, score_fn, x, divergence, probes, flow, differentiate)
    result = result._replace(latent=as_state(result.latent, given))
    if not check_tolerance:
        return result
    tighter = replace(flow, rtol=0.1 * rtol, atol=0.1 * atol)
    better = _change_of_variables(sde, score_fn, x, divergence, probes, tighter, differentiate)
    return better._replace(
        latent=as_state(better.latent, given),
        nfe=result.nfe + better.nfe,
        solver_error=jnp.abs(better.log_prob - result.log_prob),
    )


def _change_of_variables(
    sde: SDE,
    score_fn: ScoreFn,
    x: Float[Array, "*shape"],
    divergence: Divergence,
    probes: Float[Array, "probes *shape"],
    flow: ProbabilityFlow,
    differentiate: Differentiate,
) -> LogLikelihood:
    """One solve of ``d(x, estimates)/dt = (v, div v)`` from ``t_min`` to ``t_max``."""
    velocity = probability_flow(sde, score_fn)

    def field(state: tuple[Array, Array], t: ScalarLike) -> tuple[Array, Array]:
        return value_and_divergence(velocity, state[0], t, divergence, probes)

    estimates = jax.eval_shape(lambda y: field((y, y), sde.t_min)[1], x)
    solution = solve_adaptively(
        field,
        (x, jnp.zeros(estimates.shape, estimates.dtype)),
        sde.t_min,
        sde.t_max,
        flow.make_solver(),
        flow.tolerances(),
        differentiate=differentiate,
    )
    latent, change = solution.y
    return LogLikelihood(
        log_prob=prior_log_prob(sde, latent) + jnp.mean(change),
        latent=latent,
        nfe=adaptive_nfe(solution),
        std_error=divergence.std_error(change),
        solver_error=jnp.full((), jnp.nan, x.dtype),
    )


def bits_per_dim(
    log_prob: Shaped[ArrayLike, "*batch"], num_dims: int, *, bin_width: float
) -> Float[Array, "*batch"]:
    """Bits per dimension of discrete data from the log density of its dequantised
    image, for any batch of them.

    ``-(log_prob / num_dims + log bin_width) / log 2``, where ``bin_width`` is the width
    in model units of one level of the data: 2/256 for 8-bit images scaled to [-1, 1],
    1/256 for [0, 1]. With ``x`` uniform in its bin it bounds the discrete likelihood
    (Theis et al. 2016, section 3.1).
    """
    if not bin_width > 0.0:
        raise ValueError(
            f"bin_width={bin_width} must be positive: the width of one data level in model units"
        )
    return -(wide(log_prob, "log_prob") / num_dims + math.log(bin_width)) / math.log(2.0)
