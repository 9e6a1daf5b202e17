"""Samplers of discrete-time models, on the noise levels of the model.

On a `DiscreteVPSDE` they take the steps of the schedulers of diffusers and give the
same numbers. Another SDE has 1,000 levels, equally spaced in the log SNR.
"""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from score_sde import checks
from score_sde.sampling.base import Sample, Sampler, check_eta, part_to_end, solve_steps
from score_sde.sampling.problem import Problem
from score_sde.sampling.solver_tables import SolverTable, as_arrays, noise_column
from score_sde.sampling.step_solvers import TableSolver
from score_sde.sdes import SDE
from score_sde.solvers import GridPart, Marginals, StepNoise, log_snr, marginals_at
from score_sde.typing import ScoreFn

Spacing: TypeAlias = Literal["leading", "trailing", "linspace"]
NUM_SCALES = 1000
"""The number of noise levels for an SDE that has no steps of its own."""


class Factors(NamedTuple):
    """The factors of the denoised image, of the noise and of the state in every step, and
    the standard deviation of its new noise.
    """

    image: Float[np.ndarray, "*steps"]
    noise: Float[np.ndarray, "*steps"]
    state: Float[np.ndarray, "*steps"]
    std: Float[np.ndarray, "*steps"]


@dataclass(frozen=True, kw_only=True)
class DiscreteSampler(Sampler):
    """A sampler that visits ``num_steps`` of the noise levels of a discrete model.

    ``spacing`` chooses them (Lin et al. 2024, table 2): ``trailing`` begins at the last
    level, ``leading`` a step before it, with ``steps_offset`` added, and ``linspace``
    takes both ends. Each step leads to the level of the next one; the last leads to the
    data, or with ``final="t_min"`` to ``t_min``, the first level of a model of
    diffusers.

    ``clip`` cuts the denoised image to ``[-clip, clip]``.
    """

    num_steps: int = 50
    spacing: Spacing = "trailing"
    steps_offset: int = 0
    final: Literal["data", "t_min"] = "data"
    clip: float | None = None

    def __post_init__(self) -> None:
        checks.whole(1, num_steps=self.num_steps)
        checks.one_of(get_args(Spacing), spacing=self.spacing)
        checks.one_of(("data", "t_min"), final=self.final)
        checks.whole(0, steps_offset=self.steps_offset)
        checks.require(
            self.steps_offset == 0 or self.spacing == "leading",
            f"steps_offset={self.steps_offset} must be 0 where spacing={self.spacing}, because "
            "only spacing=leading has an offset",
        )
        if self.clip is not None:
            checks.positive(clip=self.clip, because="or None")

    @property
    def ends_at_data(self) -> bool:
        """Whether the last step leads to the data."""
        return self.final == "data"

    @abc.abstractmethod
    def steps(self, start: Marginals, stop: Marginals) -> Factors:
        """The factors of every step, from the noise levels at its two ends."""

    def step_indices(self, num_scales: int) -> Int[np.ndarray, " steps"]:
        """The levels at which the score is evaluated, the noisiest first."""
        checks.require(
            self.num_steps <= num_scales,
            f"num_steps={self.num_steps} must be at most {num_scales}, the number of noise levels",
        )
        if self.spacing == "linspace":
            return np.linspace(0, num_scales - 1, self.num_steps).round().astype(int)[::-1]
        if self.spacing == "trailing":
            stride = num_scales / self.num_steps
            return np.round(num_scales - stride * np.arange(self.num_steps)).astype(int) - 1
        first = self.steps_offset + (self.num_steps - 1) * (num_scales // self.num_steps)
        last = num_scales - 1
        checks.require(
            first <= last,
            f"steps_offset={self.steps_offset} must be at most {self.steps_offset + last - first}, "
            f"because the first step is at level {first} and the last level is {last}",
        )
        return first - (num_scales // self.num_steps) * np.arange(self.num_steps)

    def part(self, sde: SDE, start: float | None = None, stop: float | None = None) -> GridPart:
        """The steps between two times; the data, where the last step leads to them, are
        the node at time 0.
        """
        times = sde.step_times()
        if times is None:
            times = log_snr(sde, max(NUM_SCALES, self.num_steps) - 1)[::-1]
        chosen = times[self.step_indices(len(times))]
        return part_to_end(sde, chosen, 0.0 if self.ends_at_data else sde.t_min, start, stop)

    def levels(
        self, sde: SDE, part: GridPart | None = None
    ) -> tuple[Float[np.ndarray, " steps"], Marginals, Marginals]:
        """The times of the evaluations, the noise levels there, and the levels at which
        the steps arrive.
        """
        *times, last = (part or self.part(sde)).times
        chosen = np.array(times)
        levels = marginals_at(sde, chosen)
        end = (1.0, 0.0) if last == 0.0 else marginals_at(sde, np.array(last))
        stop = Marginals(
            *(np.append(part[1:], value) for part, value in zip(levels, end, strict=True))
        )
        return chosen, levels, stop

    def integrate(self, problem: Problem) -> Sample:
        """The steps of the table, from a latent at the noise level of the first step.

        Where the last level has no signal, ``score_fn`` must have a method
        ``denoised``, as the score function of a `Model` has.
        """
        sde, score_fn = problem.sde, problem.score_fn
        part = self.part(sde, problem.start, problem.stop)
        times, start, stop = self.levels(sde, part)
        denoised = getattr(score_fn, "denoised", None)
        checks.require(
            denoised is not None or start.alpha[part.steps].all(),
            "score_fn must have a method denoised, because the last level has no signal, so that "
            "its score says nothing of the image: model.score_fn has one where the network "
            "predicts v or the denoised image",
        )
        table = self._table(times, start, stop, problem.latent.dtype, part.steps)
        solver = DiscreteSteps(
            score_fn=score_fn,
            denoised=denoised,
            table=table,
            draws=problem.step_noise(self, cut=part.cut) if table.noisy else None,
        )
        if problem.start is None:
            level = Marginals(start.alpha[0], start.sigma[0])
            problem = problem._replace(latent=_at_level(problem.latent, sde, level))
        return solve_steps(problem, solver, part)

    def solver_table(self, sde: SDE) -> "StepTable":
        """The numbers of all steps, for `solve_table`, from a latent at the noise level
        of the first step.

        Where that has no signal, the score function must have a method ``denoised``, as
        for `solve`; without it the sample is NaN.
        """
        return self._table(*self.levels(sde), jnp.result_type(float))

    def _table(
        self,
        times: Float[np.ndarray, " steps"],
        start: Marginals,
        stop: Marginals,
        dtype: Any,
        part: slice = slice(None),
    ) -> "StepTable":
        """The table of all steps; without noise where the steps of a part add none."""
        factors = Factors(*(np.broadcast_to(f, times.shape) for f in self.steps(start, stop)))
        arrays = as_arrays(
            dtype,
            time=times,
            alpha=start.alpha,
            sigma=start.sigma,
            image=factors.image,
            noise=factors.noise,
            state=factors.state,
        )
        return StepTable(**arrays, std=noise_column(factors.std, dtype, part), clip=self.clip)


@dataclass(frozen=True, kw_only=True)
class DiscreteDDIM(DiscreteSampler):
    """DDIM on the levels of a discrete model (Song, Meng & Ermon 2021, eq. 12).

    ``x' = alpha' D + sqrt(sigma'^2 - n^2) eps + n z`` with ``n = eta sigma' / sigma
    sqrt(v)``, where ``v`` is the variance of the forward step. ``clip`` changes ``D``
    alone: ``eps`` stays the prediction of the network.

    >>> import score_sde as ss
    >>> ss.DiscreteDDIM(num_steps=4).step_indices(1000)
    array([999, 749, 499, 249])
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_eta(self.eta)

    def steps(self, start: Marginals, stop: Marginals) -> Factors:
        """``(alpha', sqrt(sigma'^2 - n^2), 0, n)``."""
        _, variance = _transition(start, stop)
        std = self.eta * np.sqrt(variance) * stop.sigma / start.sigma
        noise = np.sqrt(np.maximum(stop.sigma**2 - std**2, 0.0))
        return Factors(stop.alpha, noise, np.zeros_like(std), std)


@dataclass(frozen=True, kw_only=True)
class DiscreteDDPM(DiscreteSampler):
    """Ancestral sampling on the levels of a discrete model (Ho et al. 2020, eqs. 7 and 11).

    With the forward step ``x = a x' + sqrt(v) z``, ``x' = (alpha' v D + a sigma'^2 x) /
    sigma^2 + std z``, where ``std^2`` is ``v sigma'^2 / sigma^2`` with
    ``variance="fixed_small"`` and ``v`` with ``"fixed_large"``. The step to the data
    has no noise.

    >>> import score_sde as ss
    >>> ss.DiscreteDDPM(num_steps=4, spacing="leading").step_indices(1000)
    array([750, 500, 250,   0])
    """

    num_steps: int = 1000
    variance: Literal["fixed_small", "fixed_large"] = "fixed_small"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.one_of(("fixed_small", "fixed_large"), variance=self.variance)

    def steps(self, start: Marginals, stop: Marginals) -> Factors:
        """``(alpha' v / sigma^2, 0, a sigma'^2 / sigma^2, std)``."""
        scale, variance = _transition(start, stop)
        std = np.sqrt(variance) * (
            stop.sigma / start.sigma if self.variance == "fixed_small" else stop.sigma > 0.0
        )
        image, state = (
            stop.alpha * variance / start.sigma**2,
            scale * (stop.sigma / start.sigma) ** 2,
        )
        return Factors(image, np.zeros_like(std), state, std)


class StepTable(SolverTable):
    """``x_next = image D + noise eps + state x + std z`` of every step, with ``D`` and
    ``eps`` evaluated at ``time``.

    ``D = E[x_0 | x]``, and ``eps`` is the noise in ``x = alpha D + sigma eps``. Where
    there is a ``clip``, ``D`` is then cut to ``[-clip, clip]``.
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
    def noisy(self) -> bool:
        """Whether the steps add noise."""
        return self.std is not None

    def make_solver(self, score_fn: ScoreFn, noise: StepNoise | None) -> "DiscreteSteps":
        """The solver of the table."""
        denoised = getattr(score_fn, "denoised", None)
        return DiscreteSteps(score_fn=score_fn, denoised=denoised, table=self, draws=noise)


class DiscreteSteps(TableSolver):
    """One row of a `StepTable` a step, for one evaluation.

    ``denoised`` gives ``D`` itself, where the score function has such a method.
    """

    score_fn: ScoreFn = eqx.field(static=True)
    denoised: Callable[..., Array] | None = eqx.field(static=True)
    table: StepTable
    draws: StepNoise | None

    def take(self, step: Any, y: Any, memory: Any) -> Any:
        """Evaluate, clip, and step."""
        row, clip = jax.tree.map(lambda column: column[step], self.table), self.table.clip
        if self.denoised is None:
            score = self.score_fn(y, row.time)
            image, noise = (y + jnp.square(row.sigma) * score) / row.alpha, -row.sigma * score
        else:
            image = self.denoised(y, row.time)
            noise = (y - row.alpha * image) / row.sigma
        image = image if clip is None else jnp.clip(image, -clip, clip)
        y1 = row.image * image + row.noise * noise + row.state * y
        if self.draws is not None and row.std is not None:
            y1 = y1 + row.std * self.draws.draw(step)
        return y1.astype(y.dtype), memory


def _transition(start: Marginals, stop: Marginals) -> tuple[np.ndarray, np.ndarray]:
    """``a`` and ``v`` of the forward step from the level ``stop`` up to ``start``, ``x
    = a x' + sqrt(v) z``.
    """
    scale = start.alpha / stop.alpha
    return scale, np.maximum(start.sigma**2 - (scale * stop.sigma) ** 2, 0.0)


def _at_level(latent: Float[Array, "*shape"], sde: SDE, level: Marginals) -> Float[Array, "*shape"]:
    """A latent of the prior, scaled to the standard deviation at a level before
    ``t_max``.
    """
    end = marginals_at(sde, np.array(sde.t_max))
    factor = float(np.hypot(*level) / np.hypot(*end))
    # Where variance is preserved, the factor differs from 1 by rounding alone.
    return latent if abs(factor - 1.0) < 1e-9 else latent * factor
