"""Fixed steps of general solvers in ``t``: Euler-Maruyama and Runge-Kutta, for the
reverse SDE and the ODE.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from score_sde.sampling.base import (
    GridSampler,
    NoiseKind,
    Sample,
    check_path,
    rescaled,
    sample_of,
)
from score_sde.sampling.problem import Problem
from score_sde.sdes import denoise, probability_flow, reverse_diffusion, reverse_drift
from score_sde.solvers import (
    AbstractSolver,
    Euler,
    Heun as HeunSolver,
    ShARK as ShARKSolver,
    SRA1Solver,
    marginals_at,
    times_of_ratio,
    told_apart,
)
from score_sde.solvers.integrate import Noise, solve_on_grid
from score_sde.typing import ScalarLike


@dataclass(frozen=True, kw_only=True)
class ReverseSDESampler(GridSampler):
    """A diffrax solver on the reverse SDE.

    ``noise_scale`` is the ``lambda`` of the family in :mod:`score_sde.sdes.reverse`.
    With ``path="tree"`` the same key at 20, 40 and 80 steps gives refinements of the
    same sample, at the cost of a Brownian tree. ``evaluations`` counts them per step.
    """

    noise_scale: float = 1.0
    path: NoiseKind = "indexed"

    evaluations: ClassVar[int]
    make_solver: ClassVar[type[AbstractSolver]]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_path(self.path)

    def integrate(self, problem: Problem) -> Sample:
        """The reverse SDE over the grid."""
        sde, tree = problem.sde, self.path == "tree"
        diffusion = reverse_diffusion(sde, noise_scale=self.noise_scale)
        part, solver = self.part(sde, problem.start, problem.stop), self.make_solver()
        if tree:  # its clock is the elapsed time
            begin, end = part.whole
            times = begin + told_apart(part.times - begin)
            part = part._replace(times=times, whole=(begin, begin + (end - begin)))
        solution = solve_on_grid(
            reverse_drift(sde, problem.score_fn, noise_scale=self.noise_scale),
            problem.latent,
            part,
            problem.projecting(solver, part, part.times[1:]),
            noise=Noise(problem.key_for(self), diffusion, tree=tree),
            save_path=problem.save_path,
            progress=problem.progress,
        )
        return sample_of(solution, self.evaluations * part.num_steps)


@dataclass(frozen=True, kw_only=True)
class EulerMaruyama(ReverseSDESampler):
    """``x - drift dt + lambda g sqrt(dt) z``: one evaluation a step, strong and weak order 1.

    >>> import score_sde as ss
    >>> ss.EulerMaruyama(num_steps=4).times(ss.VESDE()).round(3)
    array([1.   , 0.671, 0.461, 0.269, 0.   ])
    """

    evaluations: ClassVar[int] = 1
    make_solver: ClassVar[type[AbstractSolver]] = Euler


@dataclass(frozen=True, kw_only=True)
class ShARK(ReverseSDESampler):
    """The Runge-Kutta scheme of strong order 1.5 for additive noise of Foster et al. 2023.

    >>> import score_sde as ss
    >>> ss.ShARK(num_steps=10).evaluations  # per step
    2
    """

    num_steps: int = 500
    evaluations: ClassVar[int] = 2
    make_solver: ClassVar[type[AbstractSolver]] = ShARKSolver


@dataclass(frozen=True, kw_only=True)
class SRA1(ReverseSDESampler):
    """The Runge-Kutta scheme of strong order 1.5 for additive noise of Roessler 2010.

    >>> import score_sde as ss
    >>> ss.SRA1(num_steps=10).evaluations  # per step
    2
    """

    num_steps: int = 500
    evaluations: ClassVar[int] = 2
    make_solver: ClassVar[type[AbstractSolver]] = SRA1Solver


@dataclass(frozen=True, kw_only=True)
class ExponentialShARK(GridSampler):
    """ShARK where the linear part of the reverse SDE is exact; strong order 1.5, two
    evaluations a step.

    With ``tau = (alpha / sigma)^2`` for the clock and ``y = x alpha / sigma^2`` the
    reverse SDE of every ``sde`` is

        ``dy = D(x, t) dtau + dw(tau)``,   ``D = E[x_0 | x_t]``

    (stochastic localisation: Montanari 2023, section 4), of the denoised data and the
    noise alone.

    >>> import score_sde as ss
    >>> ss.ExponentialShARK(num_steps=4).times(ss.VPSDE()).round(3)
    array([1.   , 0.576, 0.207, 0.038, 0.001])
    """

    num_steps: int = 100

    def integrate(self, problem: Problem) -> Sample:
        """The reverse SDE over the grid, in ``tau``."""
        sde, dtype = problem.sde, problem.latent.dtype
        part = self.part(sde, problem.start, problem.stop)
        levels = marginals_at(sde, part.times)
        nodes, scale = told_apart(levels.ratio[::-1] ** -2.0)[::-1], levels.sigma**2 / levels.alpha
        # Where ShARK evaluates: at the nodes and at five sixths of the way to the next.
        clock = np.append(
            np.stack([nodes[:-1], nodes[:-1] + np.diff(nodes) * (5.0 / 6.0)], 1).ravel(), nodes[-1]
        )
        times = times_of_ratio(sde, clock**-0.5)

        def drift(y: Float[Array, "*shape"], tau: ScalarLike) -> Float[Array, "*shape"]:
            t = jnp.interp(tau, jnp.asarray(clock, dtype), jnp.asarray(times, dtype))
            alpha, sigma = sde.marginal(t)
            return denoise(sde, problem.score_fn, y * (jnp.square(sigma) / alpha), t)

        ends = marginals_at(sde, np.array(part.whole)).ratio ** -2.0
        begin, end = np.where(part.times[[0, -1]] == part.whole, nodes[[0, -1]], ends)
        solution = solve_on_grid(
            drift,
            problem.latent / float(scale[part.first]),
            part._replace(times=nodes, whole=(float(begin), float(end))),
            problem.projecting(ShARKSolver(), part, part.times[1:], scale=scale[1:]),
            noise=Noise(problem.key_for(self), jnp.ones_like),
            save_path=problem.save_path,
            progress=problem.progress,
        )
        return sample_of(rescaled(solution, scale[part.nodes]), 2 * part.num_steps)


@dataclass(frozen=True, kw_only=True)
class Heun(GridSampler):
    """Heun's second-order method on the probability-flow ODE; two evaluations a step.

    >>> import score_sde as ss
    >>> ss.Heun(num_steps=2).times(ss.VPSDE()).round(3)
    array([1.   , 0.207, 0.001])
    """

    num_steps: int = 100

    def integrate(self, problem: Problem) -> Sample:
        """The probability-flow ODE with ``num_steps`` steps of Heun."""
        part = self.part(problem.sde, problem.start, problem.stop)
        solution = solve_on_grid(
            probability_flow(problem.sde, problem.score_fn),
            problem.latent,
            part,
            problem.projecting(HeunSolver(), part, part.times[1:]),
            save_path=problem.save_path,
            progress=problem.progress,
        )
        return sample_of(solution, 2 * part.num_steps)
