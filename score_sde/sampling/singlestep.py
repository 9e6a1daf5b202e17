"""Runge-Kutta samplers in the noise level ``s = sigma / alpha``: DPM-Solver, EDM and Restart.

Their methods are tables for ``dy / ds = noise`` in ``y = x / alpha``. Every step may
first add noise and so go up to a higher level, as the stochastic samplers of Karras et
al. 2022 and Xu et al. 2023 do.
"""

import abc
import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, TypeAlias

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from score_sde.sampling.base import GridSampler, Sample, carried_wide, required, rescaled, sample_of
from score_sde.sampling.projection import Projection, projecting
from score_sde.sampling.solver_tables import SolverTable
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
from score_sde.solvers.integrate import ProgressFn, run_table
from score_sde.typing import Key, ScalarLike, ScoreFn

Nodes: TypeAlias = Float[np.ndarray, " nodes"]


class Steps(NamedTuple):
    """Where every step comes from, where it goes up to by new noise, and where it
    arrives; all ``sigma / alpha``.
    """

    before: Ratios
    start: Ratios
    stop: Ratios


@dataclass(frozen=True, kw_only=True)
class SingleStepSampler(GridSampler):
    """A sampler whose steps know nothing of one another."""

    @abc.abstractmethod
    def method(self) -> MakeTableau:
        """The Runge-Kutta method."""

    def steps(self, ratio: Nodes, moved: Nodes | None = None) -> Steps:
        """The steps over a grid of noise levels; for a part of it, with the ``moved``
        ends of that.
        """
        ratio = ratio if moved is None else moved
        return Steps(ratio[:-1], ratio[:-1], ratio[1:])

    def place(self, sde: SDE, part: GridPart) -> tuple[int, int]:
        """The first step of a part among all steps, and the one after its last."""
        del sde
        return part.first, part.last

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
        """The steps, in ``x / alpha``."""
        part = self.part(sde, t_start, t_stop)
        levels, whole = marginals_at(sde, part.times), marginals_at(sde, self.times(sde))
        before, start, stop = steps = self.steps(whole.ratio, levels.ratio)
        first, last = self.place(sde, part)
        tableau, std = self.method()(start, stop), self._noise_std(steps)
        cut, noise = None if part.cut is None else (last - 1, part.cut[1]), None
        if std[first:last].any():
            like = jax.ShapeDtypeStruct(latent.shape, latent.dtype)
            noise = StepNoise(required(key, self), like, cut=cut)
        solver = SingleStep(
            score_fn=score_fn,
            table=SingleStepArrays.of_tableau(sde, tableau, std, latent.dtype),
            noise=noise,
        )
        times, alpha = part.times, levels.alpha
        if (save_path or projection is not None) and len(start) != self.num_steps:
            # Steps that are not those of the grid, at levels of their own.
            times = np.append(times_of_ratio(sde, before), times[-1])
            alpha = np.append(marginals_at(sde, times[:-1]).alpha, alpha[-1])
            times[[first, last]] = part.times[[part.first, part.last]]
            alpha[[first, last]] = levels.alpha[[part.first, part.last]]
            visited = slice(first, last + 1)
        else:
            visited = part.nodes
        solution = run_table(
            projecting(
                solver,
                projection,
                key,
                part._replace(first=first, last=last, cut=cut),
                times[1:],
                latent.dtype,
                scale=alpha[1:],
            ),
            latent / float(levels.alpha[part.first]),
            last - first,
            first=first,
            save_path=save_path,
            progress=progress,
        )
        return sample_of(rescaled(solution, alpha[visited]), tableau.ends[first:last].size)

    def solver_table(self, sde: SDE) -> "SingleStepArrays":
        """The numbers of all steps, for `solve_table`."""
        levels = marginals_at(sde, self.times(sde))
        steps = self.steps(levels.ratio)
        tableau, std = self.method()(steps.start, steps.stop), self._noise_std(steps)
        dtype = jnp.result_type(float)
        arrays = SingleStepArrays.of_tableau(sde, tableau, std, dtype)
        return replace(
            arrays,
            noise_std=arrays.noise_std if std.any() else None,
            ends_alpha=jnp.asarray(levels.alpha[[0, -1]], dtype),
        )

    def _noise_std(self, steps: Steps) -> Ratios:
        """The standard deviation of what takes every step up, in ``x / alpha``."""
        return self.inflation * np.sqrt(np.maximum(steps.start**2 - steps.before**2, 0.0))

    @property
    def inflation(self) -> float:
        """The factor of the noise that is added."""
        return 1.0


@dataclass(frozen=True, kw_only=True)
class DPMSolver(SingleStepSampler):
    """DPM-Solver-2 and -3 (Lu et al. 2022, algorithms 1 and 2): ``order`` evaluations a
    step, and that order.
    """

    num_steps: int = 25
    grid: TimeGrid = log_snr
    order: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order not in (2, 3):
            raise ValueError(f"order={self.order} must be 2 or 3; DDIM is order 1")

    def method(self) -> MakeTableau:
        """The method of the order."""
        return dpm_solver_2 if self.order == 2 else dpm_solver_3


@dataclass(frozen=True, kw_only=True)
class EDM(SingleStepSampler):
    """The samplers of Karras et al. 2022: Euler or Heun in the noise level, with or
    without churn (algorithms 1 and 2).

    ``churn`` is their ``S_churn``: before a step from ``s`` in ``[churn_min,
    churn_max]``, noise takes ``y`` up to ``s (1 + min(churn / num_steps, sqrt(2) -
    1))``, never beyond the prior's; ``inflation`` is their ``S_noise``.
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
        if self.order not in (1, 2):
            raise ValueError(f"order={self.order} must be 1 (Euler) or 2 (Heun)")
        if self.churn < 0.0:
            raise ValueError(f"churn={self.churn} must not be negative")
        if not self.noise_inflation > 0.0:
            raise ValueError(f"noise_inflation={self.noise_inflation} must be positive")

    def method(self) -> MakeTableau:
        """Euler or Heun."""
        return euler if self.order == 1 else heun

    def steps(self, ratio: Nodes, moved: Nodes | None = None) -> Steps:
        """The steps, churned."""
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
    """Restart sampling (Xu et al. 2023, algorithm 1): Heun, and at ``restart_min`` back
    up to ``restart_max`` by noise.

    The way down from there takes ``restart_steps`` steps, and is gone ``restarts``
    times. The node of the grid next to ``restart_min`` is where it starts. Of two solves
    that meet there, the one that arrives there has the loops.
    """

    restarts: int = 2
    restart_steps: int = 6
    restart_min: float = 0.1
    restart_max: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.restarts < 1 or self.restart_steps < 1:
            raise ValueError(
                f"restarts={self.restarts} and restart_steps={self.restart_steps} must be at least "
                "1"
            )
        if not 0.0 < self.restart_min < self.restart_max:
            raise ValueError(
                f"restart_min={self.restart_min}, restart_max={self.restart_max}: 0 < restart_min "
                "< restart_max"
            )

    def steps(self, ratio: Nodes, moved: Nodes | None = None) -> Steps:
        """The steps of the grid, with the loops in their midst."""
        plain, at = super().steps(ratio, moved), self._restart_node(ratio)
        low, high = ratio[at], min(self.restart_max, ratio[0])
        # The spacing of EDM within a loop.
        loop = np.linspace(max(high, low) ** (1 / 7), low ** (1 / 7), self.restart_steps + 1) ** 7
        once = Steps(np.concatenate([[low], loop[1:-1]]), loop[:-1], loop[1:])
        return Steps(
            *(
                np.concatenate([part[:at], np.tile(again, self.restarts), part[at:]])
                for part, again in zip(plain, once, strict=True)
            )
        )

    def place(self, sde: SDE, part: GridPart) -> tuple[int, int]:
        """The loops are after all steps to their node, in the part that arrives there."""
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
        noise_std: Float[np.ndarray, " steps"],
        dtype: Any,
    ) -> "SingleStepArrays":
        """The tableau for an SDE, with noise of ``noise_std`` before every step."""
        times = times_of_ratio(sde, tableau.ratio)
        levels = marginals_at(sde, times)
        arrays = {
            "times": times,
            "alpha": levels.alpha,
            "sigma": levels.sigma,
            "stages": tableau.stages,
            "ends": tableau.ends,
            "noise_std": noise_std,
        }
        cast = {name: jnp.asarray(array, dtype) for name, array in arrays.items()}
        return cls(**cast)

    @property
    def num_steps(self) -> int:
        """The number of steps."""
        return self.times.shape[0]

    @property
    def evaluations(self) -> int:
        """One a stage."""
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


class SingleStep(diffrax.AbstractSolver):
    """Noise, then one row of a tableau a step, on a clock that counts the steps; the
    state is ``y = x / alpha``.
    """

    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar = diffrax.LocalLinearInterpolation

    score_fn: ScoreFn = eqx.field(static=True)
    table: SingleStepArrays
    noise: StepNoise | None

    def order(self, terms: Any) -> None:
        """Not used: the grid is fixed."""

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> None:
        """No state."""

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any
    ) -> Any:
        """Go up, then down by the stages."""
        step, table, y = jnp.rint(t0).astype(jnp.int32), self.table, y0
        if self.noise is not None and table.noise_std is not None:
            y = y0 + table.noise_std[step] * self.noise.draw(step)
        noises: list[Any] = []
        for stage in range(table.ends.shape[1]):
            inner = y + sum(table.stages[step, stage, k] * noise for k, noise in enumerate(noises))
            score = self.score_fn(table.alpha[step, stage] * inner, table.times[step, stage])
            noises.append(-table.sigma[step, stage] * score)
        y1 = y + sum(table.ends[step, k] * noise for k, noise in enumerate(noises))
        return y1, None, {"y0": y0, "y1": y1}, None, diffrax.RESULTS.successful

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        """The vector field of the first term."""
        return terms.vf(t0, y0, args)
