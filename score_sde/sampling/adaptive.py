"""Samplers with adaptive steps."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Array, Int

from score_sde import checks
from score_sde.precision import wide
from score_sde.sampling.base import Sample, Sampler, sample_of
from score_sde.sampling.problem import Problem
from score_sde.sampling.projection import refuse_projection
from score_sde.sdes import SDE, probability_flow, reverse_diffusion, reverse_drift
from score_sde.solvers import AbstractSolver, Dopri5, ShARK, Tsit5, grid_part
from score_sde.solvers.integrate import (
    ErrorNorm,
    Noise,
    ProgressFn,
    Solution,
    Tolerances,
    solve_adaptively,
)
from score_sde.typing import SampleLike, ScoreFn

ADAPTIVE_SOLVERS: dict[str, type[AbstractSolver]] = {"tsit5": Tsit5, "dopri5": Dopri5}


@dataclass(frozen=True, kw_only=True)
class AdaptiveSampler(Sampler):
    """A sampler with error control.

    A step is kept where its error is at most ``atol + rtol |x|``: the root mean square
    over the numbers of a sample (``norm="rms"``), or the largest (``"max"``). Where
    ``max_steps`` runs out, the sample is NaN. Under ``jax.vmap`` every sample has its
    own steps; ``axis_name`` couples the samples of that ``vmap``, ``pmap`` or
    ``shard_map`` axis, and all take the steps that the worst of them needs.
    """

    rtol: float = 1e-5
    atol: float = 1e-5
    max_steps: int = 4096
    norm: ErrorNorm = "rms"
    axis_name: str | None = None

    def __post_init__(self) -> None:
        self.tolerances()  # which are checked where they are made

    def tolerances(self) -> Tolerances:
        """The accuracy that the solve is asked for."""
        return Tolerances(self.rtol, self.atol, self.max_steps, self.norm, self.axis_name)

    def ends(self, problem: Problem) -> tuple[float, float]:
        """The times at which a solve starts and stops; it takes no projection."""
        refuse_projection(problem.projection, self, "the size of a step would depend on its jumps")
        whole = np.array([problem.sde.t_max, problem.sde.t_min])
        first, last = grid_part(whole, problem.start, problem.stop).times
        return float(first), float(last)


@dataclass(frozen=True, kw_only=True)
class ProbabilityFlow(AdaptiveSampler):
    """The probability-flow ODE with adaptive steps (the black-box ODE sampler of Song
    et al. 2021, section 4.3); deterministic.

    >>> import score_sde as ss
    >>> ss.ProbabilityFlow(rtol=1e-3, solver="dopri5").tolerances()
    Tolerances(rtol=0.001, atol=1e-05, max_steps=4096, norm='rms', axis_name=None)
    """

    solver: Literal["tsit5", "dopri5"] = "tsit5"

    def __post_init__(self) -> None:
        super().__post_init__()
        adaptive_solver(self.solver)

    def integrate(self, problem: Problem) -> Sample:
        """The probability-flow ODE to tolerance."""
        solution = self.solve_between(
            problem.sde,
            problem.score_fn,
            problem.latent,
            *self.ends(problem),
            save_path=problem.save_path,
            progress=problem.progress,
        )
        return sample_of(solution, adaptive_nfe(solution))

    def make_solver(self) -> AbstractSolver:
        """The diffrax solver."""
        return adaptive_solver(self.solver)

    def solve_between(
        self,
        sde: SDE,
        score_fn: ScoreFn,
        x: SampleLike,
        t_start: float,
        t_stop: float,
        *,
        save_path: int = 0,
        progress: ProgressFn | None = None,
    ) -> Solution:
        """The probability-flow ODE from ``x`` at ``t_start`` to ``t_stop``, forward or
        backward in time, in float32 at least.
        """
        return solve_adaptively(
            probability_flow(sde, score_fn),
            wide(x),
            t_start,
            t_stop,
            self.make_solver(),
            self.tolerances(),
            save_path=save_path,
            progress=progress,
        )


@dataclass(frozen=True, kw_only=True)
class AdaptiveSDE(AdaptiveSampler):
    """The reverse SDE with adaptive steps of ShARK (strong order 1.5) along one
    Brownian path; two evaluations a step.

    The path is a Brownian tree: the same key gives refinements of the same sample as
    the tolerances fall. The tolerances bound the error of the path, not of the density;
    1e-2 or 1e-3 suffices. ``noise_scale`` is the ``lambda`` of the family in
    :mod:`score_sde.sdes.reverse`.

    >>> import score_sde as ss
    >>> ss.AdaptiveSDE(rtol=1e-3).tolerances().rtol
    0.001
    """

    rtol: float = 1e-2
    atol: float = 1e-2
    noise_scale: float = 1.0

    def integrate(self, problem: Problem) -> Sample:
        """The reverse SDE to tolerance."""
        sde, scale = problem.sde, self.noise_scale
        solution = solve_adaptively(
            reverse_drift(sde, problem.score_fn, noise_scale=scale),
            problem.latent,
            *self.ends(problem),
            ShARK(),
            self.tolerances(),
            noise=Noise(
                problem.key_for(self), reverse_diffusion(sde, noise_scale=scale), tree=True
            ),
            save_path=problem.save_path,
            progress=problem.progress,
            whole=(sde.t_max, sde.t_min),
        )
        return sample_of(solution, 2 * solution.num_steps)


def adaptive_solver(name: str) -> AbstractSolver:
    """The diffrax solver of a name."""
    checks.one_of(ADAPTIVE_SOLVERS, solver=name)
    return ADAPTIVE_SOLVERS[name]()


def adaptive_nfe(solution: Solution) -> Int[Array, ""]:
    """Evaluations of an adaptive Tsit5 or Dopri5 solve: six new stages for every step
    tried, and the first stage of the first.
    """
    return 6 * solution.num_steps + 1
