"""The diffrax solver that carries out a table of a multistep method."""

from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from score_sde.sampling.multistep_weights import MultistepTable
from score_sde.solvers.brownian import StepNoise
from score_sde.solvers.marginal_levels import NoiseLevels
from score_sde.typing import ScoreFn


class Multistep(diffrax.AbstractSolver):
    """One row of a table a step, on a clock that counts the steps.

    The solver state holds the last values of the table's variable, the newest first,
    and the state before. ``levels`` has one more entry than ``times``: the level at
    which the last step arrives.
    """

    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar = diffrax.LocalLinearInterpolation

    score_fn: ScoreFn = eqx.field(static=True)
    times: Float[Array, " steps"]
    alpha: Float[Array, " nodes"]
    sigma: Float[Array, " nodes"]
    decay: Float[Array, " steps"]
    weights: Float[Array, "steps order"]
    noise_std: Float[Array, " steps"]
    correction: Float[Array, "steps order_and_one"] | None
    of_noise: bool = eqx.field(static=True)
    noise: StepNoise | None

    @classmethod
    def of_table(
        cls,
        table: MultistepTable,
        times: Float[np.ndarray, " steps"],
        levels: NoiseLevels,
        score_fn: ScoreFn,
        noise: StepNoise | None,
        dtype: Any,
    ) -> "Multistep":
        """The solver of a table, whose numbers are in ``y = x / alpha``; here they are in ``x``."""
        start, stop = levels.alpha[:-1], levels.alpha[1:]
        arrays = {
            "times": times,
            "alpha": levels.alpha,
            "sigma": levels.sigma,
            "decay": table.decay * stop / start,
            "weights": table.weights * stop[:, None],
            "noise_std": table.noise * stop,
        }
        correction = (
            None
            if table.correction is None
            else jnp.asarray(table.correction * stop[:, None], dtype)
        )
        cast = {name: jnp.asarray(array, dtype) for name, array in arrays.items()}
        return cls(
            score_fn=score_fn, correction=correction, of_noise=table.of_noise, noise=noise, **cast
        )

    def order(self, terms: Any) -> None:
        """Not used: the grid is fixed."""

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> Any:
        """No values yet."""
        kept = self.weights.shape[1] - (self.correction is None)
        return jnp.zeros((kept, *y0.shape), y0.dtype), y0

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any
    ) -> Any:
        """Evaluate, correct what came before, and go on."""
        past, before = solver_state
        step = jnp.rint(t0).astype(jnp.int32)
        values = jnp.concatenate([self._value(y0, step)[None], past])
        y = self._corrected(y0, before, values, step)
        order = self.weights.shape[1]
        y1 = self.decay[step] * y + jnp.tensordot(self.weights[step], values[:order], 1)
        if self.noise is not None:
            y1 = y1 + self.noise_std[step] * self.noise.draw(step)
        return y1, None, {"y0": y0, "y1": y1}, (values[: len(past)], y), diffrax.RESULTS.successful

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        """The vector field of the first term."""
        return terms.vf(t0, y0, args)

    def _value(self, x: Any, step: Any) -> Any:
        """The denoised ``(x + sigma^2 score) / alpha``, or the noise ``-sigma score``,
        for one evaluation.
        """
        score, sigma = self.score_fn(x, self.times[step]), self.sigma[step]
        return (
            -sigma * score if self.of_noise else (x + jnp.square(sigma) * score) / self.alpha[step]
        )

    def _corrected(self, x: Any, before: Any, values: Any, step: Any) -> Any:
        """The step that led here once more, with the value found here."""
        if self.correction is None:
            return x
        again = self.decay[step - 1] * before + jnp.tensordot(self.correction[step - 1], values, 1)
        return jax.lax.select(step > 0, again, x)
