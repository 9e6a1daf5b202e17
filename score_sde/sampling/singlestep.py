"""Runge-Kutta samplers in the noise level ``s = sigma / alpha``: DPM-Solver, EDM and Restart.

Their methods are tables for ``dy / ds = noise`` in ``y = x / alpha``. A step may first
add noise, which takes it up to a higher level (Karras et al. 2022; Xu et al. 2023).
"""

import abc
import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from score_sde import checks
from score_sde.sampling.base import GridSampler, Sample, rescaled, sample_of
from score_sde.sampling.problem import Problem
from score_sde.sampling.solver_tables import SolverTable, as_arrays, noise_column
from score_sde.sampling.step_solvers import TableSolver
from score_sde.sampling.tableaus import (
    MakeTableau,
    Ratios,
    Tableau,
    dpm_solver_2,
    dpm_solver_3,
    euler,
    heun,
)
from score_sde.sdes import SDE
from score_sde.solvers import (
    EDMGrid,
    GridPart,
    StepNoise,
    TimeGrid,
    log_snr,
    marginals_at,
    times_of_ratio,
)
from score_sde.solvers.integrate import run_table
from score_sde.typing import ScoreFn

Nodes: TypeAlias = Float[np.ndarray, " nodes"]


class Steps(NamedTuple):
    """The noise levels ``sigma / alpha`` of every step: before its new noise, after the
    noise, and at its end.
    """

    before: Ratios
    start: Ratios
    stop: Ratios


@dataclass(frozen=True, kw_only=True)
class SingleStepSampler(GridSampler):
    """A sampler of independent steps, each by a Runge-Kutta method in the noise level."""

    @abc.abstractmethod
    def method(self) -> MakeTableau:
        """The Runge-Kutta method."""

    def steps(self, ratio: Nodes, moved: Nodes | None = None) -> Steps:
        """The steps over a grid of noise levels; a part of the grid has its ends
        ``moved``.
        """
        ratio = ratio if moved is None else moved
        return Steps(ratio[:-1], ratio[:-1], ratio[1:])

    def place(self, sde: SDE, part: GridPart) -> tuple[int, int]:
        """The number of the first step of a part among all steps, and of the step after
        its last.
        """
        del sde
        return part.first, part.last

    def integrate(self, problem: Problem) -> Sample:
        """The steps, in ``x / alpha``."""
        sde, dtype = problem.sde, problem.latent.dtype
        part = self.part(sde, problem.start, problem.stop)
        levels, whole = marginals_at(sde, part.times), marginals_at(sde, self.times(sde))
        steps = self.steps(whole.ratio, levels.ratio)
        first, last = self.place(sde, part)
        cut = None if part.cut is None else (last - 1, part.cut[1])
        table = self._table(sde, steps, dtype, slice(first, last))
        noise = problem.step_noise(self, cut=cut) if table.noisy else None
        times, alpha, visited = part.times, levels.alpha, part.nodes
        on_path = problem.save_path or problem.projection is not None
        if on_path and len(steps.start) != self.num_steps:
            # With restarts, the steps are more than the grid has, with levels of their own.
            times = np.append(times_of_ratio(sde, steps.before), times[-1])
            alpha = np.append(marginals_at(sde, times[:-1]).alpha, alpha[-1])
            times[[first, last]] = part.times[[part.first, part.last]]
            alpha[[first, last]] = levels.alpha[[part.first, part.last]]
            visited = slice(first, last + 1)
        solution = run_table(
            problem.projecting(
                SingleStep(score_fn=problem.score_fn, table=table, noise=noise),
                part._replace(first=first, last=last, cut=cut),
                times[1:],
                scale=alpha[1:],
            ),
            problem.latent / float(levels.alpha[part.first]),
            last - first,
            first=first,
            save_path=problem.save_path,
            progress=problem.progress,
        )
        evaluations = (last - first) * table.ends.shape[1]
        return sample_of(rescaled(solution, alpha[visited]), evaluations)

    def solver_table(self, sde: SDE) -> "SingleStepArrays":
        """The numbers of all steps, for `solve_table`."""
        levels, dtype = marginals_at(sde, self.times(sde)), jnp.result_type(float)
        ends_alpha = jnp.asarray(levels.alpha[[0, -1]], dtype)
        return replace(self._table(sde, self.steps(levels.ratio), dtype), ends_alpha=ends_alpha)

    def _table(
        self, sde: SDE, steps: Steps, dtype: Any, part: slice = slice(None)
    ) -> "SingleStepArrays":
        """The table of all steps; without noise where the steps of a part add none."""
        tableau, std = self.method()(steps.start, steps.stop), self._noise_std(steps)
        return SingleStepArrays.of_tableau(sde, tableau, noise_column(std, dtype, part), dtype)

    def _noise_std(self, steps: Steps) -> Ratios:
        """The standard deviation of the noise before every step, in ``x / alpha``."""
        return self.inflation * np.sqrt(np.maximum(steps.start**2 - steps.before**2, 0.0))

    @property
    def inflation(self) -> float:
        """The factor of the noise that is added."""
        return 1.0


@dataclass(frozen=True, kw_only=True)
class DPMSolver(SingleStepSampler):
    """DPM-Solver-2 and -3 (Lu et al. 2022, algorithms 1 and 2), with ``order`` evaluations
    a step.

    >>> import numpy as np, score_sde as ss
    >>> method = ss.DPMSolver(order=2).method()
    >>> method(np.array([4.0]), np.array([1.0])).ratio  # where the stages evaluate
    array([[4., 2.]])
    """

    num_steps: int = 25
    grid: TimeGrid = log_snr
    order: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.one_of((2, 3), order=self.order, because="as DDIM is the method of order 1")

    def method(self) -> MakeTableau:
        """The method of the order."""
        return dpm_solver_2 if self.order == 2 else dpm_solver_3


@dataclass(frozen=True, kw_only=True)
class EDM(SingleStepSampler):
    """The samplers of Karras et al. 2022: Euler or Heun in the noise level, with or
    without churn (algorithms 1 and 2).

    ``churn`` is their ``S_churn``: before a step from ``s = sigma / alpha`` in
    ``[churn_min, churn_max]``, noise takes ``y`` up to ``s (1 + min(churn / num_steps,
    sqrt(2) - 1))``, never beyond the level of the prior. ``noise_inflation``, their
    ``S_noise``, is a factor of that noise. ``order`` is 1 (Euler) or 2 (Heun).

    >>> import numpy as np, score_sde as ss
    >>> ss.EDM(num_steps=2, churn=0.5).steps(np.array([4.0, 2.0, 1.0])).start
    array([4. , 2.5])
    """

    num_steps: int = 18
    grid: TimeGrid = EDMGrid()  # noqa: RUF009 - a frozen value
    order: int = 2
    churn: float = 0.0
    churn_min: float = 0.0
    churn_max: float = math.inf
    noise_inflation: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.one_of((1, 2), order=self.order, because="where 1 is Euler and 2 is Heun")
        checks.at_least(0, churn=self.churn)
        checks.positive(noise_inflation=self.noise_inflation)

    def method(self) -> MakeTableau:
        """Euler or Heun."""
        return euler if self.order == 1 else heun

    def steps(self, ratio: Nodes, moved: Nodes | None = None) -> Steps:
        """The steps, each from the level to which the churn takes it."""
        nodes = ratio if moved is None else moved
        before, stop = nodes[:-1], nodes[1:]
        churned = (before >= self.churn_min) & (before <= self.churn_max)
        gain = np.where(churned, min(self.churn / self.num_steps, math.sqrt(2.0) - 1.0), 0.0)
        return Steps(before, np.minimum(before * (1.0 + gain), ratio[0]), stop)

    @property
    def inflation(self) -> float:
        """``S_noise``."""
        return self.noise_inflation


@dataclass(frozen=True, kw_only=True)
class Restart(EDM):
    """Restart sampling (Xu et al. 2023, algorithm 1): Heun, and at the noise level
    ``restart_min`` back up to ``restart_max`` by noise, ``restarts`` times.

    Each time, ``restart_steps`` steps lead down again. The loops are at the node of the
    grid next to ``restart_min``; of two solves that meet at this node, the first has
    the loops.

    >>> import numpy as np, score_sde as ss
    >>> sampler = ss.Restart(num_steps=2, restarts=1, restart_steps=2)
    >>> sampler.steps(np.array([9.0, 0.1, 0.01])).start.round(3)
    array([9.   , 1.   , 0.347, 0.1  ])
    """

    restarts: int = 2
    restart_steps: int = 6
    restart_min: float = 0.1
    restart_max: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole(1, restarts=self.restarts, restart_steps=self.restart_steps)
        checks.positive(restart_min=self.restart_min)
        checks.increasing(restart_min=self.restart_min, restart_max=self.restart_max)

    def steps(self, ratio: Nodes, moved: Nodes | None = None) -> Steps:
        """The steps of the grid, with the loops at their node."""
        plain, at = super().steps(ratio, moved), self._restart_node(ratio)
        low, high = ratio[at], min(self.restart_max, ratio[0])
        # Within a loop the spacing of EDM.
        loop = np.linspace(max(high, low) ** (1 / 7), low ** (1 / 7), self.restart_steps + 1) ** 7
        once = Steps(np.concatenate([[low], loop[1:-1]]), loop[:-1], loop[1:])
        return Steps(
            *(
                np.concatenate([part[:at], np.tile(again, self.restarts), part[at:]])
                for part, again in zip(plain, once, strict=True)
            )
        )

    def place(self, sde: SDE, part: GridPart) -> tuple[int, int]:
        """The same, with the loops in the part that arrives at their node."""
        at = self._restart_node(marginals_at(sde, self.times(sde)).ratio)
        loops = self.restarts * self.restart_steps
        arrives = part.last > at or (part.last == at and part.cut is None)
        return part.first + loops * (part.first >= at), part.last + loops * arrives

    def _restart_node(self, ratio: Nodes) -> int:
        return 1 + int(np.argmin(np.abs(np.log(ratio[1:] / self.restart_min))))


class SingleStepArrays(SolverTable):
    """A `Tableau` in ``y = x / alpha`` as arrays, with ``times``, ``alpha`` and
    ``sigma`` of every stage.

    ``y_k = y + noise_std z + sum_l stages_kl e_l`` and ``y_1 = y + noise_std z + sum_k
    ends_k e_k``, with ``e_k = -sigma_k score(alpha_k y_k, times_k)``. ``ends_alpha`` is
    ``alpha`` where the first step starts and where the last arrives.
    """

    times: Float[Array, "steps stages"]
    alpha: Float[Array, "steps stages"]
    sigma: Float[Array, "steps stages"]
    stages: Float[Array, "steps stages stages"]
    ends: Float[Array, "steps stages"]
    noise_std: Float[Array, " steps"] | None
    ends_alpha: Float[Array, "2"] | None = None

    @classmethod
    def of_tableau(
        cls,
        sde: SDE,
        tableau: Tableau,
        noise_std: Float[Array, " steps"] | None,
        dtype: Any,
    ) -> "SingleStepArrays":
        """The tableau for an SDE, with the noise before every step."""
        times = times_of_ratio(sde, tableau.ratio)
        levels = marginals_at(sde, times)
        arrays = as_arrays(
            dtype,
            times=times,
            alpha=levels.alpha,
            sigma=levels.sigma,
            stages=tableau.stages,
            ends=tableau.ends,
        )
        return cls(**arrays, noise_std=noise_std)

    @property
    def num_steps(self) -> int:
        """The number of steps."""
        return self.times.shape[0]

    @property
    def evaluations(self) -> int:
        """One per stage of every step."""
        return self.ends.shape[0] * self.ends.shape[1]

    @property
    def noisy(self) -> bool:
        """Whether the steps add noise."""
        return self.noise_std is not None

    @property
    def scales(self) -> tuple[Array, Array] | None:
        """``alpha`` at the start and at the end."""
        return None if self.ends_alpha is None else (self.ends_alpha[0], self.ends_alpha[1])

    def make_solver(self, score_fn: ScoreFn, noise: StepNoise | None) -> "SingleStep":
        """The solver of the tableau."""
        return SingleStep(score_fn=score_fn, table=self, noise=noise)


class SingleStep(TableSolver):
    """Noise, then one row of a tableau a step; the state is ``y = x / alpha``."""

    score_fn: ScoreFn = eqx.field(static=True)
    table: SingleStepArrays
    noise: StepNoise | None

    def take(self, step: Any, y: Any, memory: Any) -> Any:
        """Go up by noise, then down by the stages."""
        table = self.table
        if self.noise is not None and table.noise_std is not None:
            y = y + table.noise_std[step] * self.noise.draw(step)
        noises: list[Any] = []
        for stage in range(table.ends.shape[1]):
            inner = y + sum(table.stages[step, stage, k] * noise for k, noise in enumerate(noises))
            score = self.score_fn(table.alpha[step, stage] * inner, table.times[step, stage])
            noises.append(-table.sigma[step, stage] * score)
        return y + sum(table.ends[step, k] * noise for k, noise in enumerate(noises)), memory
