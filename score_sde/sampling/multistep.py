"""The base of the exponential multistep samplers, and the diffrax solver of their tables."""

import abc
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from score_sde import checks
from score_sde.sampling.base import (
    GridSampler,
    NoiseKind,
    Sample,
    check_path,
    nodes_of,
    part_to_end,
    solve_steps,
)
from score_sde.sampling.multistep_weights import MultistepTable, Ratios
from score_sde.sampling.problem import Problem
from score_sde.sampling.projection import refuse_projection
from score_sde.sampling.solver_tables import SolverTable, as_arrays, noise_column
from score_sde.sampling.step_solvers import TableSolver
from score_sde.sdes import SDE, starting_at
from score_sde.solvers import (
    GridPart,
    Marginals,
    StepNoise,
    TimeGrid,
    log_snr,
    marginals_at,
    times_of_ratio,
    told_apart,
)
from score_sde.typing import ScoreFn


@dataclass(frozen=True, kw_only=True)
class ExponentialSampler(GridSampler):
    """A sampler given by a table of weights, with one evaluation a step.

    With ``last_ratio`` the last evaluation is at the noise level ``sigma / alpha =
    last_ratio``, and the step from there leads to the data, which is best for few
    steps; else the sampler ends at ``t_min``.

    ``path="tree"`` draws the noise from one Brownian path over ``log(alpha / sigma)``:
    the same key at 20, 40 and 80 steps gives refinements of the same sample.
    """

    num_steps: int = 50
    grid: TimeGrid = log_snr
    last_ratio: float | None = None
    path: NoiseKind = "indexed"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_path(self.path)
        if self.last_ratio is not None:
            checks.positive(last_ratio=self.last_ratio, because="or None to end at t_min")

    @abc.abstractmethod
    def table(self, sde: SDE, ratio: Ratios) -> MultistepTable:
        """The method, for the noise levels ``sigma / alpha`` of its nodes."""

    @property
    def ends_at_data(self) -> bool:
        """Whether the last step leads to the data."""
        return self.last_ratio is not None

    def nodes(
        self, sde: SDE, part: GridPart | None = None
    ) -> tuple[Float[np.ndarray, " steps"], Marginals]:
        """The times of the evaluations, and the levels at all nodes; the last node has
        no evaluation.
        """
        times = (part or self.part(sde)).times
        if times[-1] > 0.0:
            return times[:-1], marginals_at(sde, times)
        levels = marginals_at(sde, times[:-1])
        return times[:-1], Marginals(np.append(levels.alpha, 1.0), np.append(levels.sigma, 0.0))

    def part(self, sde: SDE, start: float | None = None, stop: float | None = None) -> GridPart:
        """The steps between two times; the data, where the last step leads to them, are
        the node at time 0.
        """
        if not self.ends_at_data:
            return super().part(sde, start, stop)
        return part_to_end(sde, self.times(sde), 0.0, start, stop)

    def times(self, sde: SDE) -> Float[np.ndarray, " nodes"]:
        """The nodes in time; with ``last_ratio``, the times of the evaluations alone.

        The first is ``t_max``; the last is at ``last_ratio``, but not before ``t_min``,
        and not above half the ratio at ``t_max``.
        """
        if self.last_ratio is None:
            return super().times(sde)
        if self.num_steps == 1:
            return np.array([sde.t_max])
        last = min(self.last_ratio, 0.5 * float(marginals_at(sde, np.array([sde.t_max])).ratio[0]))
        ending = starting_at(sde, float(times_of_ratio(sde, np.array([last]))[0]))
        return nodes_of(self.grid, sde, self.num_steps - 1, starting=ending)

    def integrate(self, problem: Problem) -> Sample:
        """The steps of the table."""
        sde, dtype = problem.sde, problem.latent.dtype
        part = self.part(sde, problem.start, problem.stop)
        times, levels = self.nodes(sde, part)
        with jax.enable_x64(dtype == jnp.float64):  # a table bounds its weights by the precision
            table = self._table_of_part(sde, levels.ratio, part)
        if table.weights.shape[1] > 1 or table.correction is not None:
            refuse_projection(
                problem.projection, self, "its steps use values from before the last projection"
            )
        arrays, noise = MultistepArrays.of_table(table, times, levels, dtype), None
        if arrays.noisy:
            clock = self._noise_clock(sde, levels.ratio) if self.path == "tree" else None
            noise = problem.step_noise(self, clock=clock, cut=part.cut)
        return solve_steps(
            problem,
            Multistep(score_fn=problem.score_fn, table=arrays, noise=noise, first=part.first),
            part,
        )

    def solver_table(self, sde: SDE) -> "MultistepArrays":
        """The numbers of all steps, for `solve_table`.

        Raises:
            ValueError: the noise is the increments of a Brownian path, which a table
                does not hold.
        """
        times, levels = self.nodes(sde)
        table = self.table(sde, levels.ratio)
        arrays = MultistepArrays.of_table(table, times, levels, jnp.result_type(float))
        checks.require(
            not arrays.noisy or self.path != "tree",
            f"path={self.path} must be indexed, because a table draws its noise by the index of "
            "the step",
        )
        return arrays

    def _table_of_part(self, sde: SDE, ratio: Ratios, part: GridPart) -> MultistepTable:
        """The table of a part, whose first step has no past values; its rows are at their
        places in the table of the whole grid, and the others are zero.
        """
        table = self.table(sde, ratio[part.nodes])

        def placed(rows: np.ndarray) -> np.ndarray:
            whole = np.zeros((len(ratio) - 1, *rows.shape[1:]))
            whole[part.steps] = rows
            return whole

        correction = None if table.correction is None else placed(table.correction)
        return MultistepTable(
            placed(table.decay),
            placed(table.weights),
            placed(table.noise),
            table.of_noise,
            correction,
        )

    def _noise_clock(self, sde: SDE, ratio: Ratios) -> Float[np.ndarray, " nodes"]:
        """The clock of the Brownian path, ``log(alpha / sigma)`` from the start of the
        whole grid, and its end.

        The step to the data has no noise. It has an interval of length 1, by which
        steps are counted, and in which a part may end.
        """
        ends = marginals_at(sde, self.times(sde)).ratio
        start, end = -np.log(ends[0]), -np.log(ends[-1])
        if self.ends_at_data:
            low = np.minimum(ratio, ends[-1])
            clock = np.where(
                ratio < ends[-1], (end + 1.0) - low / ends[-1], -np.log(np.maximum(ratio, low))
            )
            end = end + 1.0
        else:
            clock = -np.log(ratio)
        # A part that stops before the end of the grid has the path of the whole grid.
        clock = np.append(clock, end) if clock[-1] < end else clock
        return -told_apart(start - clock)


class MultistepArrays(SolverTable):
    """The table of a multistep method in ``x``, as arrays.

    ``x_{i+1} = decay_i x_i + sum_j weights_ij v_{i-j} + noise_std_i z_i``, with the
    values ``v`` at ``times``: the denoised ``D = (x + sigma^2 score) / alpha``, or
    where ``of_noise`` the noise ``-sigma score``. ``alpha`` and ``sigma`` have one more
    entry than ``times``: the level at which the last step arrives. ``correction`` is
    explained at `MultistepTable`.
    """

    times: Float[Array, " steps"]
    alpha: Float[Array, " nodes"]
    sigma: Float[Array, " nodes"]
    decay: Float[Array, " steps"]
    weights: Float[Array, "steps order"]
    noise_std: Float[Array, " steps"] | None
    correction: Float[Array, "steps order_and_one"] | None
    of_noise: bool = eqx.field(static=True)

    @classmethod
    def of_table(
        cls,
        table: MultistepTable,
        times: Float[np.ndarray, " steps"],
        levels: Marginals,
        dtype: Any,
    ) -> "MultistepArrays":
        """The arrays of a table whose numbers are in ``y = x / alpha``."""
        start, stop = levels.alpha[:-1], levels.alpha[1:]
        correction = table.correction
        if correction is not None:
            correction = jnp.asarray(correction * stop[:, None], dtype)
        arrays = as_arrays(
            dtype,
            times=times,
            alpha=levels.alpha,
            sigma=levels.sigma,
            decay=table.decay * stop / start,
            weights=table.weights * stop[:, None],
        )
        return cls(
            **arrays,
            noise_std=noise_column(table.noise * stop, dtype),
            correction=correction,
            of_noise=table.of_noise,
        )

    @property
    def num_steps(self) -> int:
        """The number of steps."""
        return self.times.shape[0]

    @property
    def noisy(self) -> bool:
        """Whether the steps add noise."""
        return self.noise_std is not None

    def make_solver(self, score_fn: ScoreFn, noise: StepNoise | None) -> "Multistep":
        """The solver of the table."""
        return Multistep(score_fn=score_fn, table=self, noise=noise)


class Multistep(TableSolver):
    """One row of a table a step.

    The memory holds the last values of the table's variable, the newest first, and the
    state before. ``first`` is the first step of the solve.
    """

    score_fn: ScoreFn = eqx.field(static=True)
    table: MultistepArrays
    noise: StepNoise | None
    first: int = eqx.field(static=True, default=0)

    def first_memory(self, y: Any) -> Any:
        """Zeros, which the weights of the first steps leave out, and the latent."""
        kept = self.table.weights.shape[1] - (self.table.correction is None)
        return jnp.zeros((kept, *y.shape), y.dtype), y

    def take(self, step: Any, y: Any, memory: Any) -> Any:
        """Evaluate, correct the state, and step."""
        (past, before), table = memory, self.table
        values = jnp.concatenate([self._value(y, step)[None], past])
        y = self._corrected(y, before, values, step)
        order = table.weights.shape[1]
        y1 = table.decay[step] * y + jnp.tensordot(table.weights[step], values[:order], 1)
        if self.noise is not None and table.noise_std is not None:
            y1 = y1 + table.noise_std[step] * self.noise.draw(step)
        return y1, (values[: len(past)], y)

    def _value(self, x: Any, step: Any) -> Any:
        """The denoised ``(x + sigma^2 score) / alpha``, or the noise ``-sigma score``,
        for one evaluation.
        """
        table = self.table
        score, sigma = self.score_fn(x, table.times[step]), table.sigma[step]
        if table.of_noise:
            return -sigma * score
        return (x + jnp.square(sigma) * score) / table.alpha[step]

    def _corrected(self, x: Any, before: Any, values: Any, step: Any) -> Any:
        """The last step once more, with the value at its end."""
        table = self.table
        if table.correction is None:
            return x
        again = table.decay[step - 1] * before
        again = again + jnp.tensordot(table.correction[step - 1], values, 1)
        return jax.lax.select(step > self.first, again, x)
