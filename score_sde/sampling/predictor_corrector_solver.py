"""Predictor-corrector sampling as a diffrax solver."""

from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp

from score_sde.sampling.correctors import Corrector
from score_sde.sampling.predictors import Predictor
from score_sde.sdes.base import SDE
from score_sde.solvers.clock import Clock
from score_sde.typing import Key, ScoreFn


class PredictorCorrectorSolver(diffrax.AbstractSolver):
    """``corrector_steps`` of the corrector and one step of the predictor (Song et al.
    2021, algorithm 1).

    With ``corrector_first``, as in the published code, the corrector acts at the time
    that the predictor leaves; else at the time where it arrives. The solver state is
    the index of the step, from which the step's noise is keyed. ``order`` means nothing
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

    def order(self, terms: Any) -> None:
        """Undefined."""

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> Any:
        """The index of the first step."""
        return jnp.zeros((), jnp.int32)

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any
    ) -> Any:
        """Predict from ``t`` to ``t_next``, and correct before or after."""
        t, t_next = self.clock.time(t0), self.clock.time(t1)
        predictor_key, *corrector_keys = jax.random.split(
            jax.random.fold_in(self.key, solver_state), 1 + self.corrector_steps
        )

        def corrected(y: Any, at: Any) -> Any:
            for key in corrector_keys:
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
            return y

        y = corrected(y0, t) if self.corrector_first else y0
        y = self.predictor(
            predictor_key, self.sde, self.score_fn, y, t, t_next, noise_scale=self.noise_scale
        )
        y = y if self.corrector_first else corrected(y, t_next)
        return y, None, {"y0": y0, "y1": y}, solver_state + 1, diffrax.RESULTS.successful

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        """The vector field of the first term."""
        return terms.vf(t0, y0, args)
