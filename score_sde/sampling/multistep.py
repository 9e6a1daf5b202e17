"""The base of the exponential multistep samplers, and the diffrax solver of their tables."""

import abc
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from score_sde.sampling.base import (
    GridSampler,
    Path,
    Sample,
    carried_wide,
    check_path,
    nodes_of,
    required,
    solve_steps,
    static_times,
)
from score_sde.sampling.multistep_weights import MultistepTable, Ratios
from score_sde.sampling.projection import Projection, refuse_projection
from score_sde.sampling.solver_tables import SolverTable
from score_sde.sdes import SDE, starting_at
from score_sde.solvers import (
    GridPart,
    Marginals,
    StepNoise,
    TimeGrid,
    grid_part,
    log_snr,
    marginals_at,
    times_of_ratio,
    told_apart,
)
from score_sde.solvers.integrate import ProgressFn
from score_sde.typing import Key, ScalarLike, ScoreFn


@dataclass(frozen=True, kw_only=True)
class ExponentialSampler(GridSampler):
    """A sampler that is a table.

    With ``last_ratio`` the last evaluation is at the noise level ``sigma / alpha =
    last_ratio``, whence one step leads to the data themselves; else the sampler ends at
    ``t_min``. Few steps are best spent that way.

    ``path="tree"`` draws the noise from one Brownian path over ``log(alpha / sigma)``:
    the same key at 20, 40 and 80 steps gives refinements of the same sample.
    """

    num_steps: int = 50
    grid: TimeGrid = log_snr
    last_ratio: float | None = None
    path: Path = "indexed"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_path(self.path)
        if self.last_ratio is not None and not self.last_ratio > 0.0:
            raise ValueError(
                f"last_ratio={self.last_ratio} must be positive, or None to end at t_min"
            )

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
        """The times of the evaluations, and the levels at all nodes, the last of which
        is not evaluated.
        """
        times = (part or self.part(sde)).times
        if times[-1] > 0.0:
            return times[:-1], marginals_at(sde, times)
        levels = marginals_at(sde, times[:-1])
        return times[:-1], Marginals(np.append(levels.alpha, 1.0), np.append(levels.sigma, 0.0))

    def part(
        self, sde: SDE, t_start: ScalarLike | None = None, t_stop: ScalarLike | None = None
    ) -> GridPart:
        """The steps between two times; the data, where the last one leads to them, are
        the node at time 0.
        """
        start, stop = static_times(sde, t_start, t_stop)
        times = self.times(sde)
        if not self.ends_at_data:
            return grid_part(times, start, stop)
        at_end = stop is None or np.float32(stop) == np.float32(sde.t_min)
        return grid_part(np.append(times, 0.0), start, None if at_end else stop)

    def times(self, sde: SDE) -> Float[np.ndarray, " nodes"]:
        """The nodes in time; with ``last_ratio``, those of the evaluations alone.

        The last is at ``last_ratio``, but not before ``t_min``, and not above half the
        ratio at ``t_max``, which is the first.
        """
        if self.last_ratio is None:
            return super().times(sde)
        if self.num_steps == 1:
            return np.array([sde.t_max])
        last = min(self.last_ratio, 0.5 * float(marginals_at(sde, np.array([sde.t_max])).ratio[0]))
        ending = starting_at(sde, float(times_of_ratio(sde, np.array([last]))[0]))
        return nodes_of(self.grid, sde, self.num_steps - 1, starting=ending)

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
        """The steps of the table."""
        part = self.part(sde, t_start, t_stop)
        times, levels = self.nodes(sde, part)
        with jax.enable_x64(
            latent.dtype == jnp.float64
        ):  # a table bounds its weights by the precision
            table = self._table_of_part(sde, levels.ratio, part)
        if table.weights.shape[1] > 1 or table.correction is not None:
            refuse_projection(
                projection, self, "its steps use values from before the last projection"
            )
        noise = None
        if table.noise.any():
            like = jax.ShapeDtypeStruct(latent.shape, latent.dtype)
            clock = self._noise_clock(sde, levels.ratio) if self.path == "tree" else None
            noise = StepNoise(
                required(key, self),
                like,
                None if clock is None else jnp.asarray(clock, latent.dtype),
                part.cut,
            )
        arrays = MultistepArrays.of_table(table, times, levels, latent.dtype)
        to_data = float(part.times[part.last]) == 0.0
        return solve_steps(
            Multistep(score_fn=score_fn, table=arrays, noise=noise, first=part.first),
            latent,
            part,
            np.maximum(part.times[1:], sde.t_min),
            projection=projection,
            key=key,
            to_data=to_data,
            save_path=save_path,
            progress=progress,
        )

    def solver_table(self, sde: SDE) -> "MultistepArrays":
        """The numbers of all steps, for `solve_table`.

        Raises:
            ValueError: the noise is that of a Brownian path, which a table has not.
        """
        times, levels = self.nodes(sde)
        table = self.table(sde, levels.ratio)
        if table.noise.any() and self.path == "tree":
            raise ValueError(
                "a table draws its noise by the index of the step, not from the path of "
                "path='tree': choose path='indexed'"
            )
        arrays = MultistepArrays.of_table(table, times, levels, jnp.result_type(float))
        return arrays if table.noise.any() else replace(arrays, noise_std=None)

    def _table_of_part(self, sde: SDE, ratio: Ratios, part: GridPart) -> MultistepTable:
        """The table of the steps of a part, which start with no past values, in their
        places in that of the whole grid.
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
        whole grid on, and its end.

        The last step to the data has no noise; its interval is there for the index, and
        for a part that ends within it.
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
        # A part that stops before the end of the grid has the path of the whole.
        clock = np.append(clock, end) if clock[-1] < end else clock
        return -told_apart(start - clock)


class MultistepArrays(SolverTable):
    """The table of a multistep method in ``x``, as arrays.

    ``x_{i+1} = decay_i x_i + sum_j weights_ij v_{i-j} + noise_std_i z_i``, with the
    values ``v`` found at ``times``: the denoised ``D = (x + sigma^2 score) / alpha``,
    or where ``of_noise`` the noise ``-sigma score``. ``alpha`` and ``sigma`` have one
    more entry than ``times``: the level at which the last step arrives. ``correction``
    is that of `MultistepTable`.
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
        arrays = {
            "times": times,
            "alpha": levels.alpha,
            "sigma": levels.sigma,
            "decay": table.decay * stop / start,
            "weights": table.weights * stop[:, None],
            "noise_std": table.noise * stop,
        }
        correction = (
            None
            if table.correction is None
            else jnp.asarray(table.correction * stop[:, None], dtype)
        )
        cast = {name: jnp.asarray(array, dtype) for name, array in arrays.items()}
        return cls(correction=correction, of_noise=table.of_noise, **cast)

    @property
    def num_steps(self) -> int:
        """The number of steps."""
        return self.times.shape[0]

    @property
    def evaluations(self) -> int:
        """One a step."""
        return self.num_steps

    @property
    def noisy(self) -> bool:
        """Whether the steps add noise."""
        return self.noise_std is not None

    def make_solver(self, score_fn: ScoreFn, noise: StepNoise | None) -> "Multistep":
        """The solver of the table."""
        return Multistep(score_fn=score_fn, table=self, noise=noise)


class Multistep(diffrax.AbstractSolver):
    """One row of a table a step, on a clock that counts the steps.

    The solver state holds the last values of the table's variable, the newest first,
    and the state before. ``first`` is the step that the solve starts with.
    """

    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar = diffrax.LocalLinearInterpolation

    score_fn: ScoreFn = eqx.field(static=True)
    table: MultistepArrays
    noise: StepNoise | None
    first: int = eqx.field(static=True, default=0)

    def order(self, terms: Any) -> None:
        """Not used: the grid is fixed."""

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> Any:
        """No values yet."""
        kept = self.table.weights.shape[1] - (self.table.correction is None)
        return jnp.zeros((kept, *y0.shape), y0.dtype), y0

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any
    ) -> Any:
        """Evaluate, correct what came before, and go on."""
        (past, before), table = solver_state, self.table
        step = jnp.rint(t0).astype(jnp.int32)
        values = jnp.concatenate([self._value(y0, step)[None], past])
        y = self._corrected(y0, before, values, step)
        order = table.weights.shape[1]
        y1 = table.decay[step] * y + jnp.tensordot(table.weights[step], values[:order], 1)
        if self.noise is not None and table.noise_std is not None:
            y1 = y1 + table.noise_std[step] * self.noise.draw(step)
        return y1, None, {"y0": y0, "y1": y1}, (values[: len(past)], y), diffrax.RESULTS.successful

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        """The vector field of the first term."""
        return terms.vf(t0, y0, args)

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
        """The step that led here once more, with the value found here."""
        table = self.table
        if table.correction is None:
            return x
        again = table.decay[step - 1] * before
        again = again + jnp.tensordot(table.correction[step - 1], values, 1)
        return jax.lax.select(step > self.first, again, x)
