"""The samplers of Song et al. 2021 and of NCSN."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from score_sde.sampling.annealed_langevin import AnnealedLangevinSolver
from score_sde.sampling.base import GridSampler, Sample, carried_wide, nodes_of, required, sample_of
from score_sde.sampling.correctors import Corrector, annealed_langevin, no_corrector
from score_sde.sampling.predictor_corrector_solver import PredictorCorrectorSolver
from score_sde.sampling.predictors import Predictor, no_predictor, reverse_diffusion_step
from score_sde.sdes.base import SDE
from score_sde.sdes.reverse import reverse_drift
from score_sde.solvers import Clock, StepNoise, TimeGrid, geometric, noise_levels
from score_sde.solvers.integrate import Progress, run_table, solve_on_grid
from score_sde.typing import Key, ScoreFn


@dataclass(frozen=True, kw_only=True)
class PredictorCorrector(GridSampler):
    """Predictor-corrector sampling (Song et al. 2021, algorithm 1): any predictor with
    any corrector, or one alone.

    A step has ``corrector_steps`` evaluations for the corrector and one for the
    predictor; `no_corrector` and `no_predictor` have none. ``noise_scale`` is the
    predictor's ``lambda``: 0 makes `reverse_diffusion_step` the probability-flow
    predictor. ``corrector_first`` is the order of the published code. The default
    corrector is that of NCSN, which keeps ``p_t`` in any number of dimensions;
    `langevin` is the paper's own. ``axis_name`` is `langevin`'s.
    """

    predictor: Predictor = reverse_diffusion_step
    corrector: Corrector = annealed_langevin
    snr: float = 0.16
    corrector_steps: int = 1
    corrector_first: bool = True
    noise_scale: float = 1.0
    axis_name: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.snr > 0.0:
            raise ValueError(
                f"snr={self.snr} must be positive (0.16 is the value of Song et al. for CIFAR-10)"
            )
        if self.corrector_steps < 0:
            raise ValueError(f"corrector_steps={self.corrector_steps} must not be negative")

    @property
    def evaluations(self) -> int:
        """Of one step."""
        return (self.predictor is not no_predictor) + (
            self.corrector is not no_corrector
        ) * self.corrector_steps

    @carried_wide
    def solve(
        self,
        key: Key | None,
        sde: SDE,
        score_fn: ScoreFn,
        latent: Float[Array, "*shape"],
        *,
        save_path: int = 0,
        progress: Progress | None = None,
    ) -> Sample:
        """The corrector and the predictor at every time of the grid."""
        times = self.times(sde)
        solver = PredictorCorrectorSolver(
            key=required(key, self),
            sde=sde,
            score_fn=score_fn,
            clock=Clock.signed(float(times[0]), float(times[-1])),
            predictor=self.predictor,
            corrector=self.corrector,
            corrector_steps=self.corrector_steps,
            corrector_first=self.corrector_first,
            noise_scale=self.noise_scale,
            snr=self.snr,
            axis_name=self.axis_name,
        )
        drift = reverse_drift(sde, score_fn, noise_scale=self.noise_scale)
        solution = solve_on_grid(
            drift, latent, times, solver, save_path=save_path, progress=progress
        )
        return sample_of(solution, self.num_steps * self.evaluations)


@dataclass(frozen=True, kw_only=True)
class AnnealedLangevin(GridSampler):
    """Annealed Langevin dynamics, the sampler of NCSN and NCSNv2 (Song & Ermon 2019,
    algorithm 1; 2020, algorithm 1).

    At every noise level, ``num_steps`` of them from the prior down to ``t_min``,
    ``steps_each`` steps of

        ``x + eps score + sqrt(2 eps) z``,   ``eps = step_size (sigma / sigma_last)^2``

    The defaults are NCSN's: 10 levels, 100 steps each and 2e-5, half the ``alpha`` of
    its algorithm; NCSNv2's for CIFAR-10 are 232, 5 and 6.2e-6. NCSNv2's final denoising
    is that of `score_sde.sample`.
    """

    num_steps: int = 10
    grid: TimeGrid = geometric
    steps_each: int = 100
    step_size: float = 2e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps_each < 1:
            raise ValueError(f"steps_each={self.steps_each} must be at least 1")
        if not self.step_size > 0.0:
            raise ValueError(f"step_size={self.step_size} must be positive")

    def times(self, sde: SDE) -> Float[np.ndarray, " levels"]:
        """The times of the ``num_steps`` levels."""
        return (
            nodes_of(self.grid, sde, self.num_steps - 1)
            if self.num_steps > 1
            else np.array([sde.t_min])
        )

    @carried_wide
    def solve(
        self,
        key: Key | None,
        sde: SDE,
        score_fn: ScoreFn,
        latent: Float[Array, "*shape"],
        *,
        save_path: int = 0,
        progress: Progress | None = None,
    ) -> Sample:
        """``steps_each`` Langevin steps at every level; a frame of the path is a step."""
        times = self.times(sde)
        sigma = noise_levels(sde, times).sigma
        steps = np.repeat(np.arange(self.num_steps), self.steps_each)
        solver = AnnealedLangevinSolver(
            score_fn=score_fn,
            times=jnp.asarray(times[steps], latent.dtype),
            step_sizes=jnp.asarray(self.step_size * (sigma[steps] / sigma[-1]) ** 2, latent.dtype),
            noise=StepNoise(required(key, self), jax.ShapeDtypeStruct(latent.shape, latent.dtype)),
        )
        solution = run_table(solver, latent, len(steps), save_path=save_path, progress=progress)
        return sample_of(solution, len(steps))
