"""The arguments of one solve, as a value."""

from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from score_sde import checks
from score_sde.sampling.projection import Projection, projecting
from score_sde.sdes import SDE
from score_sde.solvers import Cut, GridPart, StepNoise
from score_sde.solvers.integrate import ProgressFn
from score_sde.typing import Key, ScalarLike, ScoreFn


class Problem(NamedTuple):
    """The arguments of `Sampler.solve`, for `Sampler.integrate`.

    ``latent`` is float32 at least, and ``score_fn`` returns values of its dtype.
    ``start`` and ``stop`` are checked times as Python numbers; None is the first or the
    last time of the sampler.
    """

    key: Key | None
    sde: SDE
    score_fn: ScoreFn
    latent: Float[Array, "*shape"]
    start: float | None = None
    stop: float | None = None
    save_path: int = 0
    progress: ProgressFn | None = None
    projection: Projection | None = None

    def key_for(self, sampler: object) -> Key:
        """The key, for a stochastic sampler.

        Raises:
            ValueError: there is none.
        """
        if self.key is None:
            raise ValueError(f"{type(sampler).__name__} is stochastic: give it a key")
        return self.key

    def step_noise(
        self,
        sampler: object,
        *,
        clock: Float[np.ndarray, " nodes"] | None = None,
        cut: Cut | None = None,
    ) -> StepNoise:
        """The noise of the steps of a stochastic sampler, of the shape of the latent.

        Args:
            sampler: the sampler.
            clock: the nodes at which one Brownian path is evaluated; None draws noise by
                the index of the step.
            cut: the last step, if ``stop`` shortens it.
        """
        return StepNoise(
            self.key_for(sampler),
            jax.ShapeDtypeStruct(self.latent.shape, self.latent.dtype),
            None if clock is None else jnp.asarray(clock, self.latent.dtype),
            cut,
        )

    def projecting(
        self,
        solver: diffrax.AbstractSolver,
        part: GridPart,
        times: Float[np.ndarray, " steps"],
        *,
        scale: Any = None,
        to_data: bool = False,
    ) -> diffrax.AbstractSolver:
        """The solver, with the projection after each step where there is one.

        Args:
            solver: the solver of the steps.
            part: the steps that are solved.
            times: the end time of each step of the whole grid, with ``start`` and
                ``stop`` in place of the nodes that they move.
            scale: ``x / y`` at these times, if the state of the solver is ``y``.
            to_data: whether the last step leads to the denoised sample at time 0, to
                which the caller applies `Projection.finish`.
        """
        if self.projection is None:
            return solver
        dtype = self.latent.dtype
        return projecting(
            solver, self.projection, self.key, part, times, dtype, scale=scale, to_data=to_data
        )


def static_time(sde: SDE, t: ScalarLike, name: str) -> float:
    """A time of the SDE as a plain number.

    Raises:
        ValueError: it is traced, not a number, or out of range.
    """
    if isinstance(t, Tracer):
        raise ValueError(
            f"{name} must be a number that is known when the program is traced, as it chooses the "
            "steps: give a Python float, or make it a static argument"
        )
    try:
        value = float(t)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be one real number, not a {type(t).__name__}") from error
    low, high = np.float32(sde.t_min), np.float32(sde.t_max)
    checks.require(
        low <= np.float32(value) <= high,
        f"{name}={value:g} must be from t_min={low:g} to t_max={high:g}",
    )
    return min(max(value, sde.t_min), sde.t_max)


def static_times(
    sde: SDE, t_start: ScalarLike | None, t_stop: ScalarLike | None
) -> tuple[float | None, float | None]:
    """The times at which a solve starts and stops, as plain numbers.

    Raises:
        ValueError: as in `static_time`, or the start is not greater than the stop.
    """
    start = None if t_start is None else static_time(sde, t_start, "t_start")
    stop = None if t_stop is None else static_time(sde, t_stop, "t_stop")
    first, last = sde.t_max if start is None else start, sde.t_min if stop is None else stop
    # Without a stop the grid decides whether any step remains: it may end at time 0.
    falls = np.float32(first) > np.float32(last) or (stop is None and start is not None)
    checks.require(
        falls,
        f"t_start={first:.9g} must be greater than t_stop={last:.9g}, because a sampler goes from "
        "noise to data",
    )
    return start, stop
