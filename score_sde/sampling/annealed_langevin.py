"""Annealed Langevin dynamics as a diffrax solver."""

from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from score_sde.solvers.brownian import StepNoise
from score_sde.typing import ScoreFn


class AnnealedLangevinSolver(diffrax.AbstractSolver):
    """``x + eps_i score(x, t_i) + sqrt(2 eps_i) z`` at step ``i``, on a clock that
    counts the steps.
    """

    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar = diffrax.LocalLinearInterpolation

    score_fn: ScoreFn = eqx.field(static=True)
    times: Float[Array, " steps"]
    step_sizes: Float[Array, " steps"]
    noise: StepNoise

    def order(self, terms: Any) -> None:
        """Undefined."""

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> None:
        """No state."""

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any
    ) -> Any:
        """One Langevin step."""
        step = jnp.rint(t0).astype(jnp.int32)
        size, score = self.step_sizes[step], self.score_fn(y0, self.times[step])
        y1 = y0 + size * score + jnp.sqrt(2.0 * size) * self.noise.draw(step)
        return y1, None, {"y0": y0, "y1": y1}, None, diffrax.RESULTS.successful

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        """The vector field of the first term."""
        return terms.vf(t0, y0, args)
