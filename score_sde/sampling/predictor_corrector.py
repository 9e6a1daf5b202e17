"""Predictor-corrector sampling (Song et al. 2021), and the diffrax solver of its steps."""

from dataclasses import dataclass
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from score_sde.sampling.base import GridSampler, Sample, carried_wide, required, sample_of
from score_sde.sampling.correctors import Corrector, annealed_langevin, no_corrector
from score_sde.sampling.predictors import Predictor, no_predictor, reverse_diffusion_step
from score_sde.sampling.projection import Projection, projected, projection_key
from score_sde.sdes import SDE, reverse_drift
from score_sde.solvers import Clock, Cut, step_key
from score_sde.solvers.integrate import ProgressFn, solve_on_grid
from score_sde.typing import Key, ScalarLike, ScoreFn


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
        progress: ProgressFn | None = None,
        t_start: ScalarLike | None = None,
        t_stop: ScalarLike | None = None,
        projection: Projection | None = None,
    ) -> Sample:
        """The corrector and the predictor at every time of the grid."""
        part = self.part(sde, t_start, t_stop)
        solver = PredictorCorrectorSolver(
            key=required(key, self),
            sde=sde,
            score_fn=score_fn,
            clock=Clock.signed(*part.whole),
            predictor=self.predictor,
            corrector=self.corrector,
            corrector_steps=self.corrector_steps,
            corrector_first=self.corrector_first,
            noise_scale=self.noise_scale,
            snr=self.snr,
            axis_name=self.axis_name,
            first=part.first,
            cut=part.cut,
            projection=projection,
            projection_key=None if projection is None else projection_key(key, projection),
        )
        drift = reverse_drift(sde, score_fn, noise_scale=self.noise_scale)
        solution = solve_on_grid(
            drift, latent, part, solver, save_path=save_path, progress=progress
        )
        return sample_of(solution, part.num_steps * self.evaluations)


class PredictorCorrectorSolver(diffrax.AbstractSolver):
    """``corrector_steps`` of the corrector and one step of the predictor (Song et al.
    2021, algorithm 1).

    With ``corrector_first``, as in the published code, the corrector acts at the time
    that the predictor leaves; else at the time where it arrives. The solver state is
    the index of the step, from which the step's noise is keyed. A projection acts after
    the predictor and after each step of the corrector. ``order`` means nothing
    here: the step converges in distribution, not to a path.
    """

    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar = diffrax.LocalLinearInterpolation

    key: Key
    sde: SDE = eqx.field(static=True)
    score_fn: ScoreFn = eqx.field(static=True)
    clock: Clock = eqx.field(static=True)
    predictor: Predictor = eqx.field(static=True)
    corrector: Corrector = eqx.field(static=True)
    corrector_steps: int = eqx.field(static=True)
    noise_scale: float = eqx.field(static=True)
    snr: float = eqx.field(static=True)
    axis_name: str | None = eqx.field(static=True)
    corrector_first: bool = eqx.field(static=True)
    first: int = eqx.field(static=True, default=0)
    cut: Cut | None = eqx.field(static=True, default=None)
    projection: Projection | None = None
    projection_key: Key | None = None

    def order(self, terms: Any) -> None:
        """Undefined."""

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> Any:
        """The index of the first step."""
        return jnp.full((), self.first, jnp.int32)

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any
    ) -> Any:
        """Predict from ``t`` to ``t_next``, and correct before or after."""
        t, t_next = self.clock.time(t0), self.clock.time(t1)
        predictor_key, *corrector_keys = jax.random.split(
            step_key(self.key, solver_state, self.cut), 1 + self.corrector_steps
        )

        def corrected(y: Any, at: Any) -> Any:
            for number, key in enumerate(corrector_keys):
                # The scale of a step of the grid is that from t_next to t, wherever the
                # corrector acts.
                before = jnp.maximum(at - (t - t_next), self.sde.t_min)
                y = self.corrector(
                    key,
                    self.sde,
                    self.score_fn,
                    y,
                    at,
                    before,
                    snr=self.snr,
                    axis_name=self.axis_name,
                )
                y = self._projected(y, at, solver_state, 1 + number)
            return y

        y = corrected(y0, t) if self.corrector_first else y0
        y = self.predictor(
            predictor_key, self.sde, self.score_fn, y, t, t_next, noise_scale=self.noise_scale
        )
        y = self._projected(y, t_next, solver_state, 0)
        y = y if self.corrector_first else corrected(y, t_next)
        return y, None, {"y0": y0, "y1": y}, solver_state + 1, diffrax.RESULTS.successful

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        """The vector field of the first term."""
        return terms.vf(t0, y0, args)

    def _projected(self, y: Any, t: Any, step: Any, number: int) -> Any:
        """The state after a projection at ``t``, one of several in a step."""
        if self.projection is None or self.projection_key is None:
            return y
        key = jax.random.fold_in(step_key(self.projection_key, step, self.cut), number)
        return projected(self.projection, key, y, t)
