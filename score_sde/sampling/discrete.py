"""The samplers of discrete-time models, step by step on the levels of their own noise tables.

On a `DiscreteVPSDE` they take the steps of the schedulers of diffusers and give their
numbers. Another SDE is taken at 1,000 levels of equal ratio of noise to signal.
"""

import abc
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeAlias

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from score_sde.sampling.base import (
    Sample,
    Sampler,
    carried_wide,
    required,
    solve_steps,
    static_times,
)
from score_sde.sampling.projection import Projection
from score_sde.sampling.solver_tables import SolverTable
from score_sde.sdes import SDE
from score_sde.solvers import GridPart, Marginals, StepNoise, grid_part, log_snr, marginals_at
from score_sde.solvers.integrate import ProgressFn
from score_sde.typing import Key, ScalarLike, ScoreFn

Spacing: TypeAlias = Literal["leading", "trailing", "linspace"]
NUM_SCALES = 1000
"""Of an SDE that has no steps of its own."""


@dataclass(frozen=True, kw_only=True)
class DiscreteSampler(Sampler):
    """A sampler that visits ``num_steps`` of the levels of a discrete model.

    ``spacing`` chooses them (Lin et al. 2024, table 2): ``trailing`` begins at the last
    level, ``leading`` a step before it, with ``steps_offset`` added, and ``linspace``
    takes both ends. Each step leads to the level of the next one; the last to the data,
    or with ``final="t_min"`` to ``t_min``, which of a model of diffusers is the first
    level.

    ``clip`` cuts the denoised image to ``[-clip, clip]``.
    """

    num_steps: int = 50
    spacing: Spacing = "trailing"
    steps_offset: int = 0
    final: Literal["data", "t_min"] = "data"
    clip: float | None = None

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ValueError(f"num_steps={self.num_steps} must be at least 1")
        if self.spacing not in ("leading", "trailing", "linspace"):
            raise ValueError(
                f"unknown spacing {self.spacing!r}: choose leading, trailing or linspace"
            )
        if self.final not in ("data", "t_min"):
            raise ValueError(f"unknown final {self.final!r}: choose data or t_min")
        if self.steps_offset < 0:
            raise ValueError(f"steps_offset={self.steps_offset} must not be negative")
        if self.steps_offset and self.spacing != "leading":
            raise ValueError(
                f"steps_offset={self.steps_offset} is for spacing='leading' alone, not "
                f"{self.spacing!r}"
            )
        if self.clip is not None and not self.clip > 0.0:
            raise ValueError(f"clip={self.clip} must be positive, or None")

    @property
    def ends_at_data(self) -> bool:
        """Whether the last step leads to the data."""
        return self.final == "data"

    @abc.abstractmethod
    def steps(
        self, start: Marginals, stop: Marginals
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The factors of the denoised image, of the noise and of the state, and the std
        of what is drawn, per step.
        """

    def step_indices(self, num_scales: int) -> Int[np.ndarray, " steps"]:
        """The levels at which the score is evaluated, the noisiest first."""
        if self.num_steps > num_scales:
            raise ValueError(
                f"num_steps={self.num_steps} must be at most {num_scales}, the number of noise "
                "levels"
            )
        if self.spacing == "linspace":
            return np.linspace(0, num_scales - 1, self.num_steps).round().astype(int)[::-1]
        if self.spacing == "trailing":
            stride = num_scales / self.num_steps
            return np.round(num_scales - stride * np.arange(self.num_steps)).astype(int) - 1
        first = self.steps_offset + (self.num_steps - 1) * (num_scales // self.num_steps)
        if first >= num_scales:
            raise ValueError(
                f"steps_offset={self.steps_offset} leads to level {first} of {num_scales}"
            )
        return first - (num_scales // self.num_steps) * np.arange(self.num_steps)

    def part(
        self, sde: SDE, t_start: ScalarLike | None = None, t_stop: ScalarLike | None = None
    ) -> GridPart:
        """The steps between two times; the data, where the last one leads to them, are
        the node at time 0.
        """
        times = sde.step_times()
        if times is None:
            times = log_snr(sde, max(NUM_SCALES, self.num_steps) - 1)[::-1]
        chosen = times[self.step_indices(len(times))]
        start, stop = static_times(sde, t_start, t_stop)
        at_end = stop is None or np.float32(stop) == np.float32(sde.t_min)
        end = 0.0 if self.ends_at_data else sde.t_min
        return grid_part(np.append(chosen, end), start, None if at_end else stop)

    def levels(
        self, sde: SDE, part: GridPart | None = None
    ) -> tuple[Float[np.ndarray, " steps"], Marginals, Marginals]:
        """The times of the evaluations, the noise levels there, and those to which the
        steps lead.
        """
        *times, last = (part or self.part(sde)).times
        chosen = np.array(times)
        levels = marginals_at(sde, chosen)
        end = (1.0, 0.0) if last == 0.0 else marginals_at(sde, np.array(last))
        stop = Marginals(
            *(np.append(part[1:], value) for part, value in zip(levels, end, strict=True))
        )
        return chosen, levels, stop

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
        """The steps of the table, from a latent of the first step's noise level.

        Where the last level has no signal, ``score_fn`` must have a method
        ``denoised``, as that of a `Model` has.
        """
        part = self.part(sde, t_start, t_stop)
        times, start, stop = self.levels(sde, part)
        denoised = getattr(score_fn, "denoised", None)
        if denoised is None and not start.alpha[part.steps].all():
            raise ValueError(
                "the last level has no signal, so that its score says nothing of the image: give a "
                "score function with "
                "a method denoised, as model.score_fn has where the network predicts v or the "
                "denoised image"
            )
        table, noisy = self._table(times, start, stop, part, latent.dtype)
        draws = None
        if noisy:
            like = jax.ShapeDtypeStruct(latent.shape, latent.dtype)
            draws = StepNoise(required(key, self), like, cut=part.cut)
        if t_start is None:
            latent = _at_level(latent, sde, Marginals(start.alpha[0], start.sigma[0]))
        to_data = float(part.times[part.last]) == 0.0
        return solve_steps(
            DiscreteSteps(score_fn=score_fn, denoised=denoised, table=table, draws=draws),
            latent,
            part,
            np.maximum(part.times[1:], sde.t_min),
            projection=projection,
            key=key,
            to_data=to_data,
            save_path=save_path,
            progress=progress,
        )

    def solver_table(self, sde: SDE) -> "StepTable":
        """The numbers of all steps, for `solve_table`, from a latent of the first
        step's noise level.

        Where that has no signal, the score function must have a method ``denoised``, as
        for `solve`; without it the sample is NaN.
        """
        part, levels = self.part(sde), self.levels(sde)
        table, noisy = self._table(*levels, part, jnp.result_type(float))
        return table if noisy else replace(table, std=None)

    def _table(
        self,
        times: Float[np.ndarray, " steps"],
        start: Marginals,
        stop: Marginals,
        part: GridPart,
        dtype: Any,
    ) -> tuple["StepTable", bool]:
        """The table, and whether there is noise in the steps of a part."""
        rows = (times, *start, *self.steps(start, stop))
        rows = [np.broadcast_to(row, times.shape) for row in rows]
        arrays = (jnp.asarray(row, dtype) for row in rows)
        return StepTable(*arrays, clip=self.clip), bool(np.any(rows[-1][part.steps]))


@dataclass(frozen=True, kw_only=True)
class DiscreteDDIM(DiscreteSampler):
    """DDIM on the levels of a discrete model (Song, Meng & Ermon 2021, equation 12).

    ``x' = alpha' D + sqrt(sigma'^2 - n^2) eps + n z`` with ``n = eta sigma' / sigma
    sqrt(v)``, where ``v`` is the variance of the forward step. ``clip`` changes ``D``
    alone: ``eps`` stays what the network says.
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.eta <= 1.0:
            raise ValueError(
                f"eta={self.eta} must lie from 0 (deterministic) to 1 (as noisy as DDPM)"
            )

    def steps(
        self, start: Marginals, stop: Marginals
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """``(alpha', sqrt(sigma'^2 - n^2), 0, n)``."""
        _, variance = _transition(start, stop)
        std = self.eta * np.sqrt(variance) * stop.sigma / start.sigma
        return stop.alpha, np.sqrt(np.maximum(stop.sigma**2 - std**2, 0.0)), np.zeros_like(std), std


@dataclass(frozen=True, kw_only=True)
class DiscreteDDPM(DiscreteSampler):
    """Ancestral sampling on the levels of a discrete model (Ho et al. 2020, equations 7 and 11).

    With the forward step ``x = a x' + sqrt(v) z``, ``x' = (alpha' v D + a sigma'^2 x) /
    sigma^2 + std z``, where ``std^2`` is ``v sigma'^2 / sigma^2`` with
    ``variance="fixed_small"`` and ``v`` with ``"fixed_large"``. The step to the data
    has no noise.
    """

    num_steps: int = 1000
    variance: Literal["fixed_small", "fixed_large"] = "fixed_small"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variance not in ("fixed_small", "fixed_large"):
            raise ValueError(
                f"unknown variance {self.variance!r}: choose fixed_small or fixed_large"
            )

    def steps(
        self, start: Marginals, stop: Marginals
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """``(alpha' v / sigma^2, 0, a sigma'^2 / sigma^2, std)``."""
        scale, variance = _transition(start, stop)
        std = np.sqrt(variance) * (
            stop.sigma / start.sigma if self.variance == "fixed_small" else stop.sigma > 0.0
        )
        image, state = (
            stop.alpha * variance / start.sigma**2,
            scale * (stop.sigma / start.sigma) ** 2,
        )
        return image, np.zeros_like(std), state, std


class StepTable(SolverTable):
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
    std: Float[Array, " steps"] | None
    clip: float | None = eqx.field(static=True, default=None)

    @property
    def num_steps(self) -> int:
        """The number of steps."""
        return self.time.shape[0]

    @property
    def evaluations(self) -> int:
        """One a step."""
        return self.num_steps

    @property
    def noisy(self) -> bool:
        """Whether the steps add noise."""
        return self.std is not None

    def make_solver(self, score_fn: ScoreFn, noise: StepNoise | None) -> "DiscreteSteps":
        """The solver of the table."""
        denoised = getattr(score_fn, "denoised", None)
        return DiscreteSteps(score_fn=score_fn, denoised=denoised, table=self, draws=noise)


class DiscreteSteps(diffrax.AbstractSolver):
    """One row of a `StepTable` a step, on a clock that counts the steps; for one evaluation.

    ``denoised`` gives ``D`` itself, where the score function can.
    """

    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar = diffrax.LocalLinearInterpolation

    score_fn: ScoreFn = eqx.field(static=True)
    denoised: Callable[..., Array] | None = eqx.field(static=True)
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
        row, clip = jax.tree.map(lambda column: column[step], self.table), self.table.clip
        if self.denoised is None:
            score = self.score_fn(y0, row.time)
            image, noise = (y0 + jnp.square(row.sigma) * score) / row.alpha, -row.sigma * score
        else:
            image = self.denoised(y0, row.time)
            noise = (y0 - row.alpha * image) / row.sigma
        image = image if clip is None else jnp.clip(image, -clip, clip)
        y1 = row.image * image + row.noise * noise + row.state * y0
        if self.draws is not None and row.std is not None:
            y1 = y1 + row.std * self.draws.draw(step)
        y1 = y1.astype(y0.dtype)
        return y1, None, {"y0": y0, "y1": y1}, solver_state, diffrax.RESULTS.successful

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        """The vector field of the first term."""
        return terms.vf(t0, y0, args)


def _transition(start: Marginals, stop: Marginals) -> tuple[np.ndarray, np.ndarray]:
    """``a`` and ``v`` of the forward step from the level ``stop`` up to ``start``, ``x
    = a x' + sqrt(v) z``.
    """
    scale = start.alpha / stop.alpha
    return scale, np.maximum(start.sigma**2 - (scale * stop.sigma) ** 2, 0.0)


def _at_level(latent: Float[Array, "*shape"], sde: SDE, level: Marginals) -> Float[Array, "*shape"]:
    """A latent of the prior scaled to a level before the end, as far as noise of
    another size is needed there.
    """
    end = marginals_at(sde, np.array(sde.t_max))
    factor = float(np.hypot(*level) / np.hypot(*end))
    # Where variance is preserved the factor is 1 but for rounding.
    return latent if abs(factor - 1.0) < 1e-9 else latent * factor
