"""Annealed Langevin dynamics: the sampler of NCSN, and the diffrax solver of its steps."""

from dataclasses import dataclass
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from score_sde.sampling.base import (
    GridSampler,
    Sample,
    carried_wide,
    nodes_of,
    required,
    solve_steps,
    static_times,
)
from score_sde.sampling.projection import Projection
from score_sde.sdes import SDE
from score_sde.solvers import GridPart, StepNoise, TimeGrid, cut_at, geometric, marginals_at
from score_sde.solvers.integrate import ProgressFn
from score_sde.typing import Key, ScalarLike, ScoreFn


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
        progress: ProgressFn | None = None,
        t_start: ScalarLike | None = None,
        t_stop: ScalarLike | None = None,
        projection: Projection | None = None,
    ) -> Sample:
        """``steps_each`` Langevin steps at every level; a frame of the path is a step."""
        part, steps = self.part(sde, t_start, t_stop), self._levels_of_steps()
        times = part.times
        sigma, last = marginals_at(sde, times).sigma, marginals_at(sde, self.times(sde)).sigma[-1]
        solver = AnnealedLangevinSolver(
            score_fn=score_fn,
            times=jnp.asarray(times[steps], latent.dtype),
            step_sizes=jnp.asarray(self.step_size * (sigma[steps] / last) ** 2, latent.dtype),
            noise=StepNoise(
                required(key, self),
                jax.ShapeDtypeStruct(latent.shape, latent.dtype),
                cut=part.cut,
            ),
        )
        return solve_steps(
            solver,
            latent,
            part,
            times[steps],
            projection=projection,
            key=key,
            save_path=save_path,
            progress=progress,
        )

    def part(
        self, sde: SDE, t_start: ScalarLike | None = None, t_stop: ScalarLike | None = None
    ) -> GridPart:
        """The Langevin steps between two times, and the time of every level.

        The steps of a level end at its noise level: a solve from ``t_start`` takes the
        levels below it, and all where it starts at the first. It stops with the steps
        of the level ``t_stop``, which if need be is one of its own.
        """
        start, stop = static_times(sde, t_start, t_stop)
        levels = self.times(sde)
        single, times, cut = levels.astype(np.float32), levels.copy(), None
        whole = start is None or np.float32(start) >= single[0]
        first = 0 if whole else int(np.sum(single >= np.float32(start)))
        last = len(levels) - 1 if stop is None else int(np.sum(single > np.float32(stop)))
        if first > last or last == len(levels):
            ends = f"from t={levels[0]:g} to t={levels[-1]:g}"
            raise ValueError(
                f"no noise level lies below t_start={start} and not below t_stop={stop}: "
                f"those of the sampler go {ends}"
            )
        if stop is not None and np.float32(stop) != single[last]:
            times[last], cut = stop, cut_at(last * self.steps_each, stop)
        return GridPart(
            times,
            first * self.steps_each,
            (last + 1) * self.steps_each,
            cut,
            (float(levels[0]), float(levels[-1])),
        )

    def _levels_of_steps(self) -> Int[np.ndarray, " steps"]:
        return np.repeat(np.arange(self.num_steps), self.steps_each)


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
