"""Exact log-likelihood by the instantaneous change of variables along the probability-flow ODE.

``log p(x) = log prior(z) + int div v(x_t, t) dt`` from ``t_min`` to ``t_max``, where ``v`` is the ODE's velocity and
``z`` the latent it ends at (Chen et al. 2018, eq. 8; Song et al. 2021, eq. 39).
"""

import abc
import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from score_sde.integrate import Differentiate, solve_adaptively
from score_sde.reverse import probability_flow
from score_sde.sampling import ProbabilityFlow, adaptive_nfe
from score_sde.sdes.base import SDE, prior_log_prob
from score_sde.typing import Key, Scalar, ScalarLike, ScoreFn, VectorField


class LogLikelihood(NamedTuple):
    """The log-likelihood of one sample.

    ``log_prob``: nats, over all dimensions, at ``t_min``. ``latent``: where the ODE arrives at ``t_max``. ``nfe``:
    evaluations of the score together with its directional derivatives. ``std_error``: of ``log_prob`` over the
    probes; 0 for the exact trace, NaN for a single probe, whose error cannot be known.
    """

    log_prob: Scalar
    latent: Float[Array, "*shape"]
    nfe: Int[Array, ""]
    std_error: Scalar


class Divergence(abc.ABC):
    """A way to take ``div v = tr(dv / dx)``: the quadratic forms ``p^T (dv/dx) p`` of some probes, weighted equally."""

    @abc.abstractmethod
    def probes(self, key: Key, x: Float[Array, "*shape"]) -> Float[Array, "probes *shape"]:
        """The probes, fixed along the trajectory."""

    @abc.abstractmethod
    def estimates(self, quadratic_forms: Float[Array, " probes"]) -> Float[Array, " estimates"]:
        """Independent unbiased estimates of the divergence, from the quadratic form of each probe."""

    @abc.abstractmethod
    def std_error(self, estimates: Float[Array, " estimates"]) -> Scalar:
        """The standard error of the mean of the integrated estimates."""


@dataclass(frozen=True, kw_only=True)
class ExactTrace(Divergence):
    """The sum over all dimensions: exact, and ``dim`` directional derivatives an evaluation."""

    def probes(self, key: Key, x: Float[Array, "*shape"]) -> Float[Array, "probes *shape"]:
        """The standard basis."""
        del key
        return jnp.eye(x.size, dtype=x.dtype).reshape(x.size, *x.shape)

    def estimates(self, quadratic_forms: Float[Array, " probes"]) -> Float[Array, " estimates"]:
        """One estimate: the sum of the diagonal."""
        return jnp.sum(quadratic_forms, keepdims=True)

    def std_error(self, estimates: Float[Array, " estimates"]) -> Scalar:
        """Zero."""
        return jnp.zeros((), estimates.dtype)


@dataclass(frozen=True, kw_only=True)
class Hutchinson(Divergence):
    """``E[p^T (dv/dx) p]`` over random probes of unit covariance (Hutchinson 1990; Skilling 1989).

    ``rademacher`` probes (signs) have the least variance of all with independent entries; ``gaussian`` are the
    classical other.
    """

    num_probes: int = 1
    kind: Literal["rademacher", "gaussian"] = "rademacher"

    def __post_init__(self) -> None:
        if self.num_probes < 1:
            raise ValueError(f"num_probes={self.num_probes} must be at least 1")
        if self.kind not in ("rademacher", "gaussian"):
            raise ValueError(f"unknown kind of probe {self.kind!r}: choose rademacher or gaussian")

    def probes(self, key: Key, x: Float[Array, "*shape"]) -> Float[Array, "probes *shape"]:
        """``num_probes`` independent probes."""
        draw = jax.random.rademacher if self.kind == "rademacher" else jax.random.normal
        return draw(key, (self.num_probes, *x.shape), x.dtype)

    def estimates(self, quadratic_forms: Float[Array, " probes"]) -> Float[Array, " estimates"]:
        """Each quadratic form is one estimate."""
        return quadratic_forms

    def std_error(self, estimates: Float[Array, " estimates"]) -> Scalar:
        """``std / sqrt(num_probes)``; unknown, so NaN, for a single probe."""
        if estimates.size == 1:
            return jnp.full((), jnp.nan, estimates.dtype)
        return jnp.std(estimates, ddof=1) / math.sqrt(estimates.size)


def velocity_and_divergence(
    velocity: VectorField, x: Float[Array, "*shape"], t: ScalarLike, probes: Float[Array, "probes *shape"]
) -> tuple[Float[Array, "*shape"], Float[Array, " probes"]]:
    """``(v(x, t), p^T (dv/dx) p for every probe p)`` in one pass of forward-mode differentiation."""
    value, derivative = jax.linearize(lambda y: velocity(y, t), x)
    forms = jax.vmap(lambda probe: jnp.vdot(probe, derivative(probe)))(probes)
    return value, forms


def log_likelihood(
    key: Key,
    sde: SDE,
    score_fn: ScoreFn,
    x: Float[Array, "*shape"],
    *,
    divergence: Divergence | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    solver: Literal["tsit5", "dopri5"] = "tsit5",
    max_steps: int = 4096,
    axis_name: str | None = None,
    differentiate: Differentiate = "forward",
) -> LogLikelihood:
    """The log density of one sample under the probability-flow ODE, in nats, at ``sde.t_min``.

    Args:
        key: draws the probes.
        sde: the forward SDE; ``dataclasses.replace(sde, t_min=...)`` moves the time at which ``x`` is taken to live.
        score_fn: ``(x, t) -> grad_x log p_t(x)``.
        x: one sample in model units.
        divergence: ``ExactTrace()`` or ``Hutchinson(num_probes=..., kind=...)``, the default with one Rademacher probe.
        rtol: relative tolerance of the adaptive solve, for the state and the log density alike.
        atol: absolute tolerance, likewise.
        solver: the Runge-Kutta pair.
        max_steps: where it runs out, ``log_prob`` and ``latent`` are NaN.
        axis_name: couples the steps of all samples of a ``vmap``, ``pmap`` or ``shard_map`` axis.
        differentiate: ``reverse`` to take gradients of the result, at the price of checkpoints.
    """
    flow = ProbabilityFlow(solver=solver, rtol=rtol, atol=atol, max_steps=max_steps, axis_name=axis_name)
    divergence = divergence or Hutchinson()
    velocity = probability_flow(sde, score_fn)
    probes = divergence.probes(key, x)

    def field(state: tuple[Array, Array], t: ScalarLike) -> tuple[Array, Array]:
        value, forms = velocity_and_divergence(velocity, state[0], t, probes)
        return value, divergence.estimates(forms)

    start = jnp.zeros_like(divergence.estimates(jnp.zeros(len(probes), x.dtype)))
    solution = solve_adaptively(
        field,
        (x, start),
        sde.t_min,
        sde.t_max,
        flow.make_solver(),
        rtol=rtol,
        atol=atol,
        max_steps=max_steps,
        axis_name=axis_name,
        differentiate=differentiate,
    )
    latent, change = solution.y
    log_prob = prior_log_prob(sde, latent) + jnp.mean(change)
    return LogLikelihood(log_prob, latent, adaptive_nfe(solution), divergence.std_error(change))


def bits_per_dim(log_prob: Float[ArrayLike, "*batch"], num_dims: int, *, bin_width: float) -> Float[Array, "*batch"]:
    """Bits per dimension of discrete data from the log density of its dequantised image, for any batch of them.

    ``-(log_prob / num_dims + log bin_width) / log 2``, where ``bin_width`` is the width in model units of one level
    of the data: 2/256 for 8-bit images scaled to [-1, 1], 1/256 for [0, 1]. With ``x`` uniform in its bin it bounds
    the discrete likelihood (Theis et al. 2016, eq. 2.3).
    """
    if not bin_width > 0.0:
        raise ValueError(f"bin_width={bin_width} must be positive: the width of one data level in model units")
    return -(jnp.asarray(log_prob) / num_dims + math.log(bin_width)) / math.log(2.0)
