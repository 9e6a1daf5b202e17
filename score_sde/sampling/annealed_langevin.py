"""Annealed Langevin dynamics, the sampler of NCSN, and the diffrax solver of its steps."""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from score_sde import checks
from score_sde.sampling.base import GridSampler, Sample, nodes_of, solve_steps
from score_sde.sampling.problem import Problem
from score_sde.sampling.step_solvers import TableSolver
from score_sde.sdes import SDE
from score_sde.solvers import GridPart, StepNoise, TimeGrid, cut_at, geometric, marginals_at
from score_sde.typing import ScoreFn


@dataclass(frozen=True, kw_only=True)
class AnnealedLangevin(GridSampler):
    """Annealed Langevin dynamics, the sampler of NCSN and NCSNv2 (Song & Ermon 2019,
    algorithm 1; 2020, algorithm 1).

    At every noise level, ``num_steps`` of them from the prior down to ``t_min``,
    ``steps_each`` steps of

        ``x + eps score + sqrt(2 eps) z``,   ``eps = step_size (sigma / sigma_last)^2``

    The defaults are from NCSN: 10 levels, 100 steps each and 2e-5, half the ``alpha``
    of its algorithm; NCSNv2 has 232, 5 and 6.2e-6 for CIFAR-10. Its final denoising is
    ``denoise=True`` of `score_sde.sample`.

    >>> import score_sde as ss
    >>> ss.AnnealedLangevin(num_steps=3).times(ss.VESDE()).round(3)  # of the levels
    array([1. , 0.5, 0. ])
    """

    num_steps: int = 10
    grid: TimeGrid = geometric
    steps_each: int = 100
    step_size: float = 2e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(1, steps_each=self.steps_each)
        checks.positive(step_size=self.step_size)

    def times(self, sde: SDE) -> Float[np.ndarray, " levels"]:
        """The times of the ``num_steps`` levels."""
        return (
            nodes_of(self.grid, sde, self.num_steps - 1)
            if self.num_steps > 1
            else np.array([sde.t_min])
        )

    def integrate(self, problem: Problem) -> Sample:
        """``steps_each`` Langevin steps at every level; a frame of the path is a step."""
        sde, dtype = problem.sde, problem.latent.dtype
        part, steps = self.part(sde, problem.start, problem.stop), self._levels_of_steps()
        times = part.times
        sigma, last = marginals_at(sde, times).sigma, marginals_at(sde, self.times(sde)).sigma[-1]
        solver = AnnealedLangevinSolver(
            score_fn=problem.score_fn,
            times=jnp.asarray(times[steps], dtype),
            step_sizes=jnp.asarray(self.step_size * (sigma[steps] / last) ** 2, dtype),
            noise=problem.step_noise(self, cut=part.cut),
        )
        return solve_steps(problem, solver, part, times[steps])

    def part(self, sde: SDE, start: float | None = None, stop: float | None = None) -> GridPart:
        """The Langevin steps between two times, and the time of every level.

        The steps of a level end at its noise level: a solve from ``start`` takes the
        levels below it, and all levels where ``start`` is the first. It ends with the
        steps at ``stop``, as a level of its own where the sampler has none there.
        """
        levels = self.times(sde)
        single, times, cut = levels.astype(np.float32), levels.copy(), None
        whole = start is None or np.float32(start) >= single[0]
        first = 0 if whole else int(np.sum(single >= np.float32(start)))
        last = len(levels) - 1 if stop is None else int(np.sum(single > np.float32(stop)))
        checks.require(
            first <= last < len(levels),
            f"no noise level is below t_start={start} and not below t_stop={stop}: the levels of "
            f"the sampler are from t={levels[0]:g} to t={levels[-1]:g}",
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


class AnnealedLangevinSolver(TableSolver):
    """``x + eps_i score(x, t_i) + sqrt(2 eps_i) z`` at step ``i``."""

    score_fn: ScoreFn = eqx.field(static=True)
    times: Float[Array, " steps"]
    step_sizes: Float[Array, " steps"]
    noise: StepNoise

    def take(self, step: Any, y: Any, memory: Any) -> Any:
        """One Langevin step."""
        size, score = self.step_sizes[step], self.score_fn(y, self.times[step])
        return y + size * score + jnp.sqrt(2.0 * size) * self.noise.draw(step), memory
