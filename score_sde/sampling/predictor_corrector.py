"""Predictor-corrector sampling (Song et al. 2021), and the diffrax solver of its steps."""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from score_sde import checks
from score_sde.sampling.base import GridSampler, Sample, sample_of
from score_sde.sampling.correctors import CorrectorFn, annealed_langevin
from score_sde.sampling.predictors import PredictorFn, reverse_diffusion_step
from score_sde.sampling.problem import Problem
from score_sde.sampling.projection import Projection, projected, projection_key
from score_sde.sampling.step_solvers import StepSolver
from score_sde.sdes import SDE, reverse_drift
from score_sde.solvers import Clock, Cut, step_key
from score_sde.solvers.integrate import solve_on_grid
from score_sde.typing import Key, ScoreFn


@dataclass(frozen=True, kw_only=True)
class PredictorCorrector(GridSampler):
    """Predictor-corrector sampling (Song et al. 2021, algorithm 1): any predictor with
    any corrector, or one alone.

    ``predictor`` and ``corrector`` are values of :mod:`score_sde.sampling.predictors`
    and :mod:`score_sde.sampling.correctors`, or functions with their arguments; a
    function counts as one evaluation of the score. The default corrector is the one of
    NCSN, which keeps ``p_t`` in any number of dimensions; `langevin` is the one of the
    paper.

    ``snr`` is the signal-to-noise ratio of a corrector step, and ``corrector_steps``
    their number at every time of the grid. ``corrector_first`` is the order of the
    published code. ``noise_scale`` is the ``lambda`` of the predictor: 0 makes
    `reverse_diffusion_step` the probability-flow predictor. ``axis_name`` is an
    argument of `langevin`.

    >>> import score_sde as ss
    >>> ss.PredictorCorrector(corrector_steps=2).evaluations  # per step of the grid
    3
    """

    predictor: PredictorFn = reverse_diffusion_step
    corrector: CorrectorFn = annealed_langevin
    snr: float = 0.16
    corrector_steps: int = 1
    corrector_first: bool = True
    noise_scale: float = 1.0
    axis_name: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.positive(snr=self.snr, because="where Song et al. 2021 have 0.16 for CIFAR-10")
        checks.whole(0, corrector_steps=self.corrector_steps)

    @property
    def evaluations(self) -> int:
        """Score evaluations per step of the grid."""
        each: int = getattr(self.corrector, "evaluations", 1)
        return getattr(self.predictor, "evaluations", 1) + each * self.corrector_steps

    def integrate(self, problem: Problem) -> Sample:
        """The corrector and the predictor at every time of the grid."""
        sde, score_fn, projection = problem.sde, problem.score_fn, problem.projection
        part = self.part(sde, problem.start, problem.stop)
        key = problem.key_for(self)
        solver = PredictorCorrectorSolver(
            key=key,
            sde=sde,
            score_fn=score_fn,
            clock=Clock.signed(*part.whole),
            sampler=self,
            first=part.first,
            cut=part.cut,
            projection=projection,
            projection_key=None if projection is None else projection_key(key, projection),
        )
        solution = solve_on_grid(
            reverse_drift(sde, score_fn, noise_scale=self.noise_scale),
            problem.latent,
            part,
            solver,
            save_path=problem.save_path,
            progress=problem.progress,
        )
        return sample_of(solution, part.num_steps * self.evaluations)


class PredictorCorrectorSolver(StepSolver):
    """``corrector_steps`` of the corrector and one step of the predictor (Song et al.
    2021, algorithm 1).

    With ``corrector_first``, as in the published code, the corrector acts at the time
    that the predictor leaves; else at the time where it arrives. The memory is the
    index of the step, from which the noise of the step is keyed. A projection acts
    after the predictor and after each step of the corrector.
    """

    key: Key
    sde: SDE = eqx.field(static=True)
    score_fn: ScoreFn = eqx.field(static=True)
    clock: Clock = eqx.field(static=True)
    sampler: PredictorCorrector = eqx.field(static=True)
    first: int = eqx.field(static=True, default=0)
    cut: Cut | None = eqx.field(static=True, default=None)
    projection: Projection | None = None
    projection_key: Key | None = None

    def first_memory(self, y: Any) -> Any:
        """The index of the first step."""
        return jnp.full((), self.first, jnp.int32)

    def advance(self, t0: Any, t1: Any, y: Any, memory: Any) -> Any:
        """Predict from ``t`` to ``t_next``, and correct before or after."""
        sampler, index = self.sampler, memory
        t, t_next = self.clock.time(t0), self.clock.time(t1)
        predictor_key, *corrector_keys = jax.random.split(
            step_key(self.key, index, self.cut), 1 + sampler.corrector_steps
        )

        def corrected(y: Any, at: Any) -> Any:
            # The step scale belongs to the interval from t to t_next, wherever the
            # corrector acts.
            for number, key in enumerate(corrector_keys):
                before = jnp.maximum(at - (t - t_next), self.sde.t_min)
                y = sampler.corrector(
                    key,
                    self.sde,
                    self.score_fn,
                    y,
                    at,
                    before,
                    snr=sampler.snr,
                    axis_name=sampler.axis_name,
                )
                y = self._projected(y, at, index, 1 + number)
            return y

        y = corrected(y, t) if sampler.corrector_first else y
        y = sampler.predictor(
            predictor_key, self.sde, self.score_fn, y, t, t_next, noise_scale=sampler.noise_scale
        )
        y = self._projected(y, t_next, index, 0)
        return (y if sampler.corrector_first else corrected(y, t_next)), index + 1

    def _projected(self, y: Any, t: Any, step: Any, number: int) -> Any:
        """The state after the projection at ``t`` of a number within the step."""
        if self.projection is None or self.projection_key is None:
            return y
        key = jax.random.fold_in(step_key(self.projection_key, step, self.cut), number)
        return projected(self.projection, key, y, t)
