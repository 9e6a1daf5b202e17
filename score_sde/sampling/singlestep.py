"""Runge-Kutta samplers in the noise level ``s = sigma / alpha``: DPM-Solver, EDM and Restart.

Their methods are tables for ``dy / ds = noise`` in ``y = x / alpha``. Every step may
first add noise and so go up to a higher level, as the stochastic samplers of Karras et
al. 2022 and Xu et al. 2023 do.
"""

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeAlias

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from score_sde.sampling.base import GridSampler, Sample, carried_wide, required, rescaled, sample_of
from score_sde.sdes import SDE
from score_sde.solvers import EDMGrid, StepNoise, TimeGrid, log_snr, noise_levels, times_of_ratio
from score_sde.solvers.integrate import Progress, run_table
from score_sde.typing import Key, ScoreFn

Ratios: TypeAlias = Float[np.ndarray, " steps"]


class Steps(NamedTuple):
    """Where every step comes from, where it goes up to by new noise, and where it
    arrives; all ``sigma / alpha``.
    """

    before: Ratios
    start: Ratios
    stop: Ratios


class Tableau(NamedTuple):
    """Stages ``y_k = y + sum_l stages_ikl e_l`` at ``ratio_ik``, and the end ``y +
    sum_k ends_ik e_k``, of every step.

    ``e_k`` is the noise ``(y_k - D) / s = -sigma score`` at stage ``k``.
    """

    ratio: Float[np.ndarray, "steps stages"]
    stages: Float[np.ndarray, "steps stages stages"]
    ends: Float[np.ndarray, "steps stages"]


MakeTableau: TypeAlias = Callable[[Ratios, Ratios], Tableau]
"""The tableau of a method, from the levels at which its steps start and stop."""


@dataclass(frozen=True, kw_only=True)
class SingleStepSampler(GridSampler):
    """A sampler whose steps know nothing of one another."""

    @abc.abstractmethod
    def method(self) -> MakeTableau:
        """The Runge-Kutta method."""

    def steps(self, ratio: Float[np.ndarray, " nodes"]) -> Steps:
        """The steps over a grid of noise levels."""
        return Steps(ratio[:-1], ratio[:-1], ratio[1:])

    @carried_wide
    def solve(
        self,
        key: Key | None,
        sde: SDE,
        score_fn: ScoreFn,
        latent: Float[Array, "*shape"],
        *,
        save_path: int = 0,
        progress: Progress | None = None,
    ) -> Sample:
        """The steps, in ``x / alpha``."""
        levels = noise_levels(sde, self.times(sde))
        before, start, stop = self.steps(levels.ratio)
        tableau, std = (
            self.method()(start, stop),
            self.inflation * np.sqrt(np.maximum(start**2 - before**2, 0.0)),
        )
        noise = None
        if std.any():
            noise = StepNoise(required(key, self), jax.ShapeDtypeStruct(latent.shape, latent.dtype))
        solver = SingleStep.of_tableau(sde, tableau, std, score_fn, noise, latent.dtype)
        first = latent / float(levels.alpha[0])
        solution = run_table(solver, first, len(start), save_path=save_path, progress=progress)
        alpha = levels.alpha
        if (
            save_path and len(start) != self.num_steps
        ):  # steps that are not those of the grid, at levels of their own
            alpha = np.append(noise_levels(sde, times_of_ratio(sde, before)).alpha, alpha[-1])
        return sample_of(rescaled(solution, alpha), tableau.ends.size)

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

    def steps(self, ratio: Float[np.ndarray, " nodes"]) -> Steps:
        """The steps, churned."""
        before, stop = ratio[:-1], ratio[1:]
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
    times. The node of the grid next to ``restart_min`` is where it starts.
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

    def steps(self, ratio: Float[np.ndarray, " nodes"]) -> Steps:
        """The steps of the grid, with the loops in their midst."""
        plain = super().steps(ratio)
        at = 1 + int(np.argmin(np.abs(np.log(ratio[1:] / self.restart_min))))
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


def euler(start: Ratios, stop: Ratios) -> Tableau:
    """Euler in the noise level, which is DDIM (Song, Meng & Ermon 2021, equation 13)."""
    return _tableau([start], {}, [stop - start])


def heun(start: Ratios, stop: Ratios) -> Tableau:
    """Heun in the noise level (Karras et al. 2022, algorithm 1)."""
    step = stop - start
    return _tableau([start, stop], {(1, 0): step}, [0.5 * step, 0.5 * step])


def dpm_solver_2(start: Ratios, stop: Ratios) -> Tableau:
    """DPM-Solver-2 (Lu et al. 2022, algorithm 1): the noise at the middle of the step
    in log SNR.
    """
    middle = np.sqrt(start * stop)
    return _tableau([start, middle], {(1, 0): middle - start}, [0.0 * start, stop - start])


def dpm_solver_3(start: Ratios, stop: Ratios) -> Tableau:
    """DPM-Solver-3 (Lu et al. 2022, algorithm 2): the noise at a third and two thirds
    of the step in log SNR.
    """
    h = np.log(start / stop)
    first, second = start * np.exp(-h / 3.0), start * np.exp(-2.0 * h / 3.0)
    slope_second = -2.0 * second * (np.expm1(2.0 * h / 3.0) / (2.0 * h / 3.0) - 1.0)
    slope_end = -1.5 * stop * (np.expm1(h) / h - 1.0)
    stages = {(1, 0): first - start, (2, 0): second - start - slope_second, (2, 1): slope_second}
    return _tableau(
        [start, first, second], stages, [stop - start - slope_end, 0.0 * start, slope_end]
    )


def _tableau(
    ratio: list[Ratios], stages: dict[tuple[int, int], Ratios], ends: list[Ratios]
) -> Tableau:
    full = np.zeros((len(ratio[0]), len(ratio), len(ratio)))
    for (row, column), value in stages.items():
        full[:, row, column] = value
    return Tableau(np.stack(ratio, 1), full, np.stack(ends, 1))


class SingleStep(diffrax.AbstractSolver):
    """Noise, then one row of a tableau a step, on a clock that counts the steps; the
    state is ``y = x / alpha``.
    """

    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar = diffrax.LocalLinearInterpolation

    score_fn: ScoreFn = eqx.field(static=True)
    times: Float[Array, "steps stages"]
    alpha: Float[Array, "steps stages"]
    sigma: Float[Array, "steps stages"]
    stages: Float[Array, "steps stages stages"]
    ends: Float[Array, "steps stages"]
    noise_std: Float[Array, " steps"]
    noise: StepNoise | None

    @classmethod
    def of_tableau(
        cls,
        sde: SDE,
        tableau: Tableau,
        noise_std: Float[np.ndarray, " steps"],
        score_fn: ScoreFn,
        noise: StepNoise | None,
        dtype: Any,
    ) -> "SingleStep":
        """The solver of a tableau for an SDE, with noise of ``noise_std`` before every step."""
        times = times_of_ratio(sde, tableau.ratio)
        levels = noise_levels(sde, times)
        arrays = {
            "times": times,
            "alpha": levels.alpha,
            "sigma": levels.sigma,
            "stages": tableau.stages,
            "ends": tableau.ends,
            "noise_std": noise_std,
        }
        cast = {name: jnp.asarray(array, dtype) for name, array in arrays.items()}
        return cls(score_fn=score_fn, noise=noise, **cast)

    def order(self, terms: Any) -> None:
        """Not used: the grid is fixed."""

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> None:
        """No state."""

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any
    ) -> Any:
        """Go up, then down by the stages."""
        step = jnp.rint(t0).astype(jnp.int32)
        y = y0 if self.noise is None else y0 + self.noise_std[step] * self.noise.draw(step)
        noises: list[Any] = []
        for stage in range(self.ends.shape[1]):
            inner = y + sum(self.stages[step, stage, k] * noise for k, noise in enumerate(noises))
            score = self.score_fn(self.alpha[step, stage] * inner, self.times[step, stage])
            noises.append(-self.sigma[step, stage] * score)
        y1 = y + sum(self.ends[step, k] * noise for k, noise in enumerate(noises))
        return y1, None, {"y0": y0, "y1": y1}, None, diffrax.RESULTS.successful

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        """The vector field of the first term."""
        return terms.vf(t0, y0, args)
