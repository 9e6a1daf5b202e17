"""The base of the exponential multistep samplers, and the diffrax solver of their tables."""

import abc
from dataclasses import dataclass
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
    sample_of,
)
from score_sde.sampling.multistep_weights import MultistepTable, Ratios
from score_sde.sdes import SDE, starting_at
from score_sde.solvers import (
    NoiseLevels,
    StepNoise,
    TimeGrid,
    log_snr,
    noise_levels,
    times_of_ratio,
    told_apart,
)
from score_sde.solvers.integrate import Progress, run_table
from score_sde.typing import Key, ScoreFn


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

    def nodes(self, sde: SDE) -> tuple[Float[np.ndarray, " steps"], NoiseLevels]:
        """The times of the evaluations, and the levels at all nodes, the last of which
        is not evaluated.
        """
        times = self.times(sde)
        if self.last_ratio is None:
            return times[:-1], noise_levels(sde, times)
        levels = noise_levels(sde, times)
        return times, NoiseLevels(np.append(levels.alpha, 1.0), np.append(levels.sigma, 0.0))

    def times(self, sde: SDE) -> Float[np.ndarray, " nodes"]:
        """The nodes in time; with ``last_ratio``, those of the evaluations alone.

        The last is at ``last_ratio``, but not before ``t_min``, and not above half the
        ratio at ``t_max``, which is the first.
        """
        if self.last_ratio is None:
            return super().times(sde)
        if self.num_steps == 1:
            return np.array([sde.t_max])
        last = min(self.last_ratio, 0.5 * float(noise_levels(sde, np.array([sde.t_max])).ratio[0]))
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
        progress: Progress | None = None,
    ) -> Sample:
        """The steps of the table."""
        times, levels = self.nodes(sde)
        with jax.enable_x64(
            latent.dtype == jnp.float64
        ):  # a table bounds its weights by the precision
            table = self.table(sde, levels.ratio)
        noise = None
        if table.noise.any():
            clock = -np.log(levels.ratio[:-1] if self.ends_at_data else levels.ratio)
            # The last step to the data has no noise; its interval is there for the
            # index alone.
            clock = np.append(clock, clock[-1] + 1.0) if self.ends_at_data else clock
            like = jax.ShapeDtypeStruct(latent.shape, latent.dtype)
            nodes = (
                jnp.asarray(-told_apart(clock[0] - clock), latent.dtype)
                if self.path == "tree"
                else None
            )
            noise = StepNoise(required(key, self), like, nodes)
        solver = Multistep.of_table(table, times, levels, score_fn, noise, latent.dtype)
        solution = run_table(solver, latent, self.num_steps, save_path=save_path, progress=progress)
        return sample_of(solution, self.num_steps)


class Multistep(diffrax.AbstractSolver):
    """One row of a table a step, on a clock that counts the steps.

    The solver state holds the last values of the table's variable, the newest first,
    and the state before. ``levels`` has one more entry than ``times``: the level at
    which the last step arrives.
    """

    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar = diffrax.LocalLinearInterpolation

    score_fn: ScoreFn = eqx.field(static=True)
    times: Float[Array, " steps"]
    alpha: Float[Array, " nodes"]
    sigma: Float[Array, " nodes"]
    decay: Float[Array, " steps"]
    weights: Float[Array, "steps order"]
    noise_std: Float[Array, " steps"]
    correction: Float[Array, "steps order_and_one"] | None
    of_noise: bool = eqx.field(static=True)
    noise: StepNoise | None

    @classmethod
    def of_table(
        cls,
        table: MultistepTable,
        times: Float[np.ndarray, " steps"],
        levels: NoiseLevels,
        score_fn: ScoreFn,
        noise: StepNoise | None,
        dtype: Any,
    ) -> "Multistep":
        """The solver of a table, whose numbers are in ``y = x / alpha``; here they are in ``x``."""
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
        return cls(
            score_fn=score_fn, correction=correction, of_noise=table.of_noise, noise=noise, **cast
        )

    def order(self, terms: Any) -> None:
        """Not used: the grid is fixed."""

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> Any:
        """No values yet."""
        kept = self.weights.shape[1] - (self.correction is None)
        return jnp.zeros((kept, *y0.shape), y0.dtype), y0

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any
    ) -> Any:
        """Evaluate, correct what came before, and go on."""
        past, before = solver_state
        step = jnp.rint(t0).astype(jnp.int32)
        values = jnp.concatenate([self._value(y0, step)[None], past])
        y = self._corrected(y0, before, values, step)
        order = self.weights.shape[1]
        y1 = self.decay[step] * y + jnp.tensordot(self.weights[step], values[:order], 1)
        if self.noise is not None:
            y1 = y1 + self.noise_std[step] * self.noise.draw(step)
        return y1, None, {"y0": y0, "y1": y1}, (values[: len(past)], y), diffrax.RESULTS.successful

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        """The vector field of the first term."""
        return terms.vf(t0, y0, args)

    def _value(self, x: Any, step: Any) -> Any:
        """The denoised ``(x + sigma^2 score) / alpha``, or the noise ``-sigma score``,
        for one evaluation.
        """
        score, sigma = self.score_fn(x, self.times[step]), self.sigma[step]
        return (
            -sigma * score if self.of_noise else (x + jnp.square(sigma) * score) / self.alpha[step]
        )

    def _corrected(self, x: Any, before: Any, values: Any, step: Any) -> Any:
        """The step that led here once more, with the value found here."""
        if self.correction is None:
            return x
        again = self.decay[step - 1] * before + jnp.tensordot(self.correction[step - 1], values, 1)
        return jax.lax.select(step > 0, again, x)
