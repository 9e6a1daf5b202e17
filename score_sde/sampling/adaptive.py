"""Samplers that choose their own steps."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, Shaped

from score_sde.precision import wide
from score_sde.sampling.base import (
    Sample,
    Sampler,
    carried_wide,
    required,
    sample_of,
    static_times,
)
from score_sde.sampling.projection import Projection, refuse_projection
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
from score_sde.typing import Key, ScalarLike, ScoreFn

ADAPTIVE_SOLVERS: dict[str, type[AbstractSolver]] = {"tsit5": Tsit5, "dopri5": Dopri5}


@dataclass(frozen=True, kw_only=True)
class AdaptiveSampler(Sampler):
    """A sampler with error control.

    Under ``jax.vmap`` every sample has its own steps. ``axis_name`` couples the samples
    of that ``vmap`` (or ``pmap``, ``shard_map``) axis: all take the steps that the
    worst of them needs. ``norm`` says whether the root mean square of a sample's error
    is to stay in tolerance, or its largest number. Where ``max_steps`` runs out, the
    sample is NaN.
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

    def ends(
        self,
        sde: SDE,
        t_start: ScalarLike | None,
        t_stop: ScalarLike | None,
        projection: Projection | None,
    ) -> tuple[float, float]:
        """Where a solve starts and stops; it takes no projection."""
        refuse_projection(projection, self, "the size of a step would depend on its jumps")
        start, stop = static_times(sde, t_start, t_stop)
        first, last = grid_part(np.array([sde.t_max, sde.t_min]), start, stop).times
        return float(first), float(last)


@dataclass(frozen=True, kw_only=True)
class ProbabilityFlow(AdaptiveSampler):
    """The probability-flow ODE with adaptive steps (the black-box ODE sampler of Song
    et al. 2021, section 4.3).
    """

    solver: Literal["tsit5", "dopri5"] = "tsit5"

    def __post_init__(self) -> None:
        super().__post_init__()
        adaptive_solver(self.solver)

    @carried_wide
    def solve(
        self,
        key: Key | None,
        sde: SDE,
        score_fn: ScoreFn,
        latent: Float[Array, "*shape"],
        *,
        save_path: int = 0,
        progress: ProgressFn | None = None,
        t_start: ScalarLike | None = None,
        t_stop: ScalarLike | None = None,
        projection: Projection | None = None,
    ) -> Sample:
        """The probability-flow ODE to tolerance."""
        del key
        start, stop = self.ends(sde, t_start, t_stop, projection)
        solution = self.solve_between(
            sde, score_fn, latent, start, stop, save_path=save_path, progress=progress
        )
        return sample_of(solution, adaptive_nfe(solution))

    def make_solver(self) -> AbstractSolver:
        """The diffrax solver."""
        return adaptive_solver(self.solver)

    def solve_between(
        self,
        sde: SDE,
        score_fn: ScoreFn,
        x: Shaped[ArrayLike, "*shape"],
        t_start: float,
        t_stop: float,
        *,
        save_path: int = 0,
        progress: ProgressFn | None = None,
    ) -> Solution:
        """The probability-flow ODE from ``x`` at ``t_start`` to ``t_stop``, either way,
        in float32 at least.
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
    the tolerances fall. The tolerances are those of the path, not of the density, and
    are worth 1e-2 or 1e-3. ``noise_scale`` is the ``lambda`` of the family in
    :mod:`score_sde.sdes.reverse`.
    """

    rtol: float = 1e-2
    atol: float = 1e-2
    noise_scale: float = 1.0

    @carried_wide
    def solve(
        self,
        key: Key | None,
        sde: SDE,
        score_fn: ScoreFn,
        latent: Float[Array, "*shape"],
        *,
        save_path: int = 0,
        progress: ProgressFn | None = None,
        t_start: ScalarLike | None = None,
        t_stop: ScalarLike | None = None,
        projection: Projection | None = None,
    ) -> Sample:
        """The reverse SDE to tolerance."""
        start, stop = self.ends(sde, t_start, t_stop, projection)
        solution = solve_adaptively(
            reverse_drift(sde, score_fn, noise_scale=self.noise_scale),
            latent,
            start,
            stop,
            ShARK(),
            self.tolerances(),
            noise=Noise(
                required(key, self), reverse_diffusion(sde, noise_scale=self.noise_scale), tree=True
            ),
            save_path=save_path,
            progress=progress,
            whole=(sde.t_max, sde.t_min),
        )
        return sample_of(solution, 2 * solution.num_steps)


def adaptive_solver(name: str) -> AbstractSolver:
    """The diffrax solver of a name."""
    if name not in ADAPTIVE_SOLVERS:
        raise ValueError(
            f"unknown adaptive solver {name!r}: choose one of {', '.join(ADAPTIVE_SOLVERS)}"
        )
    return ADAPTIVE_SOLVERS[name]()


def adaptive_nfe(solution: Solution) -> Int[Array, ""]:
    """Evaluations of an adaptive Tsit5 or Dopri5 solve: six new stages for every step
    tried, and the first of all.
    """
    return 6 * solution.num_steps + 1
