"""The diffrax solver that carries out the steps of a discrete-time model."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import diffrax
import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from score_sde.solvers.brownian import StepNoise
from score_sde.typing import ScoreFn


class StepTable(NamedTuple):
    """``x_next = image D + noise eps + state x + std z`` of every step, with ``D`` and
    ``eps`` found at ``time``.

    ``D = E[x_0 | x]``, cut to ``[-clip, clip]`` where there is a ``clip``, and ``eps``
    is the noise of the image that was not cut: ``x = alpha D + sigma eps``.
    """

    time: Float[Array, " steps"]
    alpha: Float[Array, " steps"]
    sigma: Float[Array, " steps"]
    image: Float[Array, " steps"]
    noise: Float[Array, " steps"]
    state: Float[Array, " steps"]
    std: Float[Array, " steps"]


class DiscreteSteps(diffrax.AbstractSolver):
    """One row of a `StepTable` a step, on a clock that counts the steps; for one evaluation.

    ``denoised`` gives ``D`` itself, where the score function can.
    """

    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar = diffrax.LocalLinearInterpolation

    score_fn: ScoreFn = eqx.field(static=True)
    denoised: Callable[..., Array] | None = eqx.field(static=True)
    clip: float | None = eqx.field(static=True)
    table: StepTable
    draws: StepNoise | None

    def order(self, terms: Any) -> None:
        """Not used: the grid is fixed."""

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> Any:
        """A step knows nothing of those before."""

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any
    ) -> Any:
        """Evaluate, clip, and step."""
        step = jnp.rint(t0).astype(jnp.int32)
        row = StepTable(*(column[step] for column in self.table))
        if self.denoised is None:
            score = self.score_fn(y0, row.time)
            image, noise = (y0 + jnp.square(row.sigma) * score) / row.alpha, -row.sigma * score
        else:
            image = self.denoised(y0, row.time)
            noise = (y0 - row.alpha * image) / row.sigma
        image = image if self.clip is None else jnp.clip(image, -self.clip, self.clip)
        y1 = row.image * image + row.noise * noise + row.state * y0
        if self.draws is not None:
            y1 = y1 + row.std * self.draws.draw(step)
        y1 = y1.astype(y0.dtype)
        return y1, None, {"y0": y0, "y1": y1}, solver_state, diffrax.RESULTS.successful

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        """The vector field of the first term."""
        return terms.vf(t0, y0, args)
