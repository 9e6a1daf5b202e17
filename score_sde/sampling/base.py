"""What a sampler is, and what it returns."""

import abc
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from diffrax import AbstractSolver
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Int, Shaped

from score_sde.precision import as_state, wide, wide_score
from score_sde.sampling.projection import Projection, finished, projecting
from score_sde.sdes import SDE
from score_sde.solvers import GridPart, TimeGrid, adapted, grid_part, told_apart
from score_sde.solvers.integrate import ProgressFn, Solution, frame_indices, run_table
from score_sde.typing import Key, ScalarLike, ScoreFn

Path: TypeAlias = Literal["indexed", "tree"]
"""The noise of a step: keyed by its index, or the increment of one Brownian path
whatever the grid.
"""


class Sample(NamedTuple):
    """One sample.

    ``x``: the sample. ``nfe``: how many times the score was evaluated for it. ``path``:
    ``[save_path, *shape]`` frames of the trajectory, the latent first, or None.
    """

    x: Float[Array, "*shape"]
    nfe: Int[Array, ""]
    path: Float[Array, "frames *shape"] | None


@dataclass(frozen=True, kw_only=True)
class Sampler(abc.ABC):
    """A way from a latent at ``t_max`` to a sample at ``t_min``, or to the data themselves.

    A solve may start and stop anywhere between. Of a fixed grid it then takes the steps
    between ``t_start`` and ``t_stop``, each with the noise of its index in the whole
    grid: two solves that meet at a node are the whole one, bit for bit, with the same
    key. Where they meet at another time, they differ from it as much as the method errs
    in a step, and the shorter steps there have noise of their own, unless it comes from
    a Brownian tree. Methods of several steps start anew, with fewer values.
    """

    @abc.abstractmethod
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
        """Carry ``latent`` from ``t_start`` to ``t_stop``. Deterministic samplers take no key.

        Args:
            key: the source of the noise.
            sde: the forward SDE.
            score_fn: ``(x, t) -> grad_x log p_t(x)``.
            latent: where to start.
            save_path: the number of frames of the trajectory to return.
            progress: is called on the host now and then with the part of the steps that
                is done, from 0 to 1.
            t_start: where ``latent`` is, a number known when the program is traced;
                None is ``t_max``, or where the sampler's grid starts.
            t_stop: where to stop, a number too; None is the end of the sampler, which
                may be the data.
            projection: a constraint to meet after each step; where the sampler ends at
                the data, they are finished by it.

        Raises:
            ValueError: a time is traced, out of range, or ``t_start`` is not above
                ``t_stop``; or the sampler takes no projection.
        """

    @property
    def ends_at_data(self) -> bool:
        """Whether it ends with denoised data rather than at ``t_min``, so that nothing
        is left to denoise.
        """
        return False

    def last_time(self, sde: SDE) -> float:
        """The time at which it ends, where its samples are distributed as ``p_t``:
        ``t_min``, or above.
        """
        return sde.t_min


def carried_wide(solve: Callable[..., Sample]) -> Callable[..., Sample]:
    """``Sampler.solve`` for latents of any real type, as a decorator, by the rule of
    :mod:`score_sde.precision`.

    The state is carried in float32 at least, and the sample and its path have the
    floating-point type of the latent.
    """

    @functools.wraps(solve)
    def wrapped(
        self: Sampler,
        key: Key | None,
        sde: SDE,
        score_fn: ScoreFn,
        latent: Shaped[ArrayLike, "*shape"],
        **options: Any,
    ) -> Sample:
        drawn = solve(self, key, sde, wide_score(score_fn), wide(latent, "latent"), **options)
        return drawn._replace(x=as_state(drawn.x, latent), path=as_state(drawn.path, latent))

    return wrapped


@dataclass(frozen=True, kw_only=True)
class GridSampler(Sampler):
    """A sampler that visits ``num_steps`` intervals of a time grid."""

    num_steps: int = 1000
    grid: TimeGrid = adapted

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ValueError(f"num_steps={self.num_steps} must be at least 1")
        if self.num_steps >= 2**31:  # steps are counted in 32 bits
            raise ValueError(f"num_steps={self.num_steps} must be at most {2**31 - 1}")

    def times(self, sde: SDE) -> Float[np.ndarray, " nodes"]:
        """The nodes of the grid for ``sde``."""
        return nodes_of(self.grid, sde, self.num_steps)

    def last_time(self, sde: SDE) -> float:
        """The last node of the grid."""
        return float(self.times(sde)[-1])

    def part(
        self, sde: SDE, t_start: ScalarLike | None = None, t_stop: ScalarLike | None = None
    ) -> GridPart:
        """The steps of the grid between two times."""
        return grid_part(self.times(sde), *static_times(sde, t_start, t_stop))


def nodes_of(
    grid: TimeGrid, sde: SDE, num_steps: int, *, starting: SDE | None = None
) -> Float[np.ndarray, " nodes"]:
    """The ``num_steps + 1`` nodes of a grid, distinct in float32; with ``starting``,
    the SDE on a part of its times.

    Raises:
        ValueError: they do not fall, or leave ``[t_min, t_max]``.
    """
    times = np.asarray(grid(starting or sde, num_steps), np.float64)
    if times.shape != (num_steps + 1,) or not (np.diff(times) < 0.0).all():
        raise ValueError(
            f"a grid of {num_steps} steps must have {num_steps + 1} falling times, got "
            f"{times.size}: "
            f"{times.tolist()!r:.100}"
        )
    low, high = sde.t_min * (1.0 - 1e-6), sde.t_max * (1.0 + 1e-6)
    if not (times[-1] >= low and times[0] <= high):
        raise ValueError(
            f"a grid from t={times[0]:g} to {times[-1]:g} must stay within t_max={sde.t_max:g} and "
            f"t_min={sde.t_min:g}"
        )
    return told_apart(np.clip(times, sde.t_min, sde.t_max))


def static_time(sde: SDE, t: ScalarLike, name: str) -> float:
    """A time of the SDE as a plain number.

    Raises:
        ValueError: it is traced, no number, or out of range.
    """
    if isinstance(t, Tracer):
        raise ValueError(
            f"{name} must be a number that is known when the program is traced, as it chooses the "
            "steps: give a Python float, or make it a static argument"
        )
    try:
        value = float(t)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be one real number, not a {type(t).__name__}") from error
    low, high = np.float32(sde.t_min), np.float32(sde.t_max)
    if not low <= np.float32(value) <= high:
        raise ValueError(f"{name}={value:g} must lie from t_min={low:g} to t_max={high:g}")
    return min(max(value, sde.t_min), sde.t_max)


def static_times(
    sde: SDE, t_start: ScalarLike | None, t_stop: ScalarLike | None
) -> tuple[float | None, float | None]:
    """Where a solve starts and stops, as plain numbers.

    Raises:
        ValueError: as `static_time` does, or the times do not fall.
    """
    start = None if t_start is None else static_time(sde, t_start, "t_start")
    stop = None if t_stop is None else static_time(sde, t_stop, "t_stop")
    first, last = sde.t_max if start is None else start, sde.t_min if stop is None else stop
    if not np.float32(first) > np.float32(last) and not (stop is None and start is not None):
        raise ValueError(
            f"t_start={first:g} must be above t_stop={last:g}: a sampler goes from noise to data"
        )
    return start, stop


def check_path(path: str) -> None:
    """Raise ``ValueError`` unless the kind of noise is known."""
    if path not in ("indexed", "tree"):
        raise ValueError(f"unknown path {path!r}: choose indexed or tree")


def rescaled(solution: Solution, scale: Float[np.ndarray, " nodes"]) -> Solution:
    """A solve of ``x / scale`` as one of ``x``, with the scale at every node of its grid."""
    if solution.path is None:
        return solution._replace(y=solution.y * float(scale[-1]))
    frames = scale[frame_indices(len(scale) - 1, len(solution.path))].reshape(
        -1, *[1] * solution.y.ndim
    )
    path = solution.path * jnp.asarray(frames, solution.y.dtype)
    return solution._replace(y=solution.y * float(scale[-1]), path=path)


def sample_of(solution: Solution, nfe: ScalarLike) -> Sample:
    """The sample that a solve arrived at."""
    return Sample(solution.y, jnp.asarray(nfe), solution.path)


def solve_steps(
    solver: AbstractSolver,
    latent: Float[Array, "*shape"],
    part: GridPart,
    times: Float[np.ndarray, " steps"],
    *,
    projection: Projection | None,
    key: Key | None,
    to_data: bool = False,
    save_path: int,
    progress: ProgressFn | None,
) -> Sample:
    """Carry out the steps of a part, one evaluation each, of a solver that has a table of
    them for ``x`` itself.

    ``times``: where every step of the whole grid arrives. ``key``: that of the solve.
    ``to_data``: whether the last step leads to the data; they, and the last frame of the
    path, are then finished by the projection.
    """
    solution = run_table(
        projecting(solver, projection, key, part, times, latent.dtype, to_data=to_data),
        latent,
        part.num_steps,
        first=part.first,
        save_path=save_path,
        progress=progress,
    )
    drawn = sample_of(solution, part.num_steps)
    if projection is None or not to_data:
        return drawn
    x = finished(projection, key, drawn.x)
    return Sample(x, drawn.nfe, None if drawn.path is None else drawn.path.at[-1].set(x))


def required(key: Key | None, sampler: Sampler) -> Key:
    """The key, which a stochastic sampler cannot do without."""
    if key is None:
        raise ValueError(f"{type(sampler).__name__} is stochastic: give it a key")
    return key
