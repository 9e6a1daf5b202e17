"""The base of samplers, and the sample that they return."""

import abc
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, get_args

import jax.numpy as jnp
import numpy as np
from diffrax import AbstractSolver
from jaxtyping import Array, Float, Int

from score_sde import checks
from score_sde.precision import as_state, wide, wide_score
from score_sde.sampling.problem import Problem, static_times
from score_sde.sampling.projection import Projection, finished
from score_sde.sdes import SDE
from score_sde.solvers import GridPart, TimeGrid, adapted, grid_part, told_apart
from score_sde.solvers.integrate import ProgressFn, Solution, frame_indices, run_table
from score_sde.typing import Key, SampleLike, ScalarLike, ScoreFn

NoiseKind: TypeAlias = Literal["indexed", "tree"]
"""How the noise of a step is drawn. ``indexed``: keyed by the index of the step.
``tree``: the increment of one Brownian path, which all grids share for one key.
"""


class Sample(NamedTuple):
    """One sample.

    >>> import score_sde as ss
    >>> ss.Sample._fields
    ('x', 'nfe', 'path')

    Attributes:
        x: the sample.
        nfe: the number of score evaluations.
        path: ``[save_path, *shape]`` frames of the trajectory, the latent first, or
            None.
    """

    x: Float[Array, "*shape"]
    nfe: Int[Array, ""]
    path: Float[Array, "frames *shape"] | None


@dataclass(frozen=True, kw_only=True)
class Sampler(abc.ABC):  # noqa: B024 - either solve or integrate is defined
    """A method that carries a latent at ``t_max`` to a sample at ``t_min``, or to the
    denoised sample at time 0.

    A subclass overrides `integrate`, or `solve`. A solve may start and stop at any
    time. On a fixed grid, step ``i`` uses the noise of index ``i`` of the whole grid:
    splitting a solve at a node reproduces it bit for bit, given the same key.
    Splitting it between nodes changes the sample by about the error of one step, and
    the two partial steps draw new noise, except from a Brownian tree. Multistep methods
    restart there, without values of earlier steps.

    >>> import score_sde as ss
    >>> ss.DDIM(num_steps=20, last_ratio=0.01).ends_at_data
    True
    """

    def solve(
        self,
        key: Key | None,
        sde: SDE,
        score_fn: ScoreFn,
        latent: SampleLike,
        *,
        save_path: int = 0,
        progress: ProgressFn | None = None,
        t_start: ScalarLike | None = None,
        t_stop: ScalarLike | None = None,
        projection: Projection | None = None,
    ) -> Sample:
        """Carry ``latent`` from ``t_start`` to ``t_stop``.

        From a latent at ``t = 0.5``::

            ss.DDIM(num_steps=20).solve(None, sde, score_fn, latent, t_start=0.5).x

        Args:
            key: the source of the noise; None for a deterministic sampler without a
                projection.
            sde: the forward SDE.
            score_fn: ``(x, t) -> grad_x log p_t(x)``.
            latent: the state at ``t_start``. The sample and its path have its
                floating-point type; they are computed in float32 at least.
            save_path: the number of frames of the trajectory to return; 0 returns none.
            progress: called on the host now and then with the fraction of the steps
                done, from 0 to 1.
            t_start: the time of ``latent``, a number known when the program is traced;
                None is ``t_max``, or the first node of a discrete sampler.
            t_stop: the time to stop at, also a static number; None is the end of the
                sampler, which may be the denoised sample at time 0. A sampler that ends
                there also does so for ``t_min``.
            projection: a constraint, met after each step; `Projection.finish` is applied
                to a denoised sample at time 0.

        Raises:
            ValueError: a stochastic sampler, or a projection that draws noise, has no
                key; a time is traced or out of range; ``t_start`` is not greater than
                ``t_stop``; or the sampler accepts no projection.
        """
        start, stop = static_times(sde, t_start, t_stop)
        drawn = self.integrate(
            Problem(
                key=key,
                sde=sde,
                score_fn=wide_score(score_fn),
                latent=wide(latent, "latent"),
                start=start,
                stop=stop,
                save_path=save_path,
                progress=progress,
                projection=projection,
            )
        )
        return drawn._replace(x=as_state(drawn.x, latent), path=as_state(drawn.path, latent))

    def integrate(self, problem: Problem) -> Sample:
        """The method of the sampler, which a subclass defines; `solve` calls it.

        It is not abstract, so that a sampler may override `solve` instead.

        >>> import dataclasses, jax.numpy as jnp, score_sde as ss
        >>> @dataclasses.dataclass(frozen=True, kw_only=True)
        ... class OneTweedie(ss.Sampler):
        ...     def integrate(self, problem):
        ...         t = problem.sde.t_max if problem.start is None else problem.start
        ...         x = ss.denoise(problem.sde, problem.score_fn, problem.latent, t)
        ...         return ss.Sample(x, jnp.asarray(1), None)
        >>> OneTweedie().solve(None, ss.VESDE(), lambda x, t: 0.0 * x, jnp.ones(2)).x
        Array([1., 1.], dtype=float32)
        """
        raise NotImplementedError(f"{type(self).__name__} defines neither integrate nor solve")

    @property
    def ends_at_data(self) -> bool:
        """Whether it ends with the denoised sample at time 0, not with a sample at ``t_min``."""
        return False

    def last_time(self, sde: SDE) -> float:
        """The final time ``t >= t_min``, at which samples approximate ``p_t``; for a
        sampler that ends with a denoised sample, the time of its last evaluation.
        """
        return sde.t_min


@dataclass(frozen=True, kw_only=True)
class GridSampler(Sampler):
    """A sampler of ``num_steps`` steps, the intervals of a time grid."""

    num_steps: int = 1000
    grid: TimeGrid = adapted

    def __post_init__(self) -> None:
        checks.whole(1, num_steps=self.num_steps)
        checks.require(
            self.num_steps < 2**31,
            f"num_steps={self.num_steps} must be at most {2**31 - 1}, because steps are counted in "
            "32 bits",
        )

    def times(self, sde: SDE) -> Float[np.ndarray, " nodes"]:
        """The nodes of the grid for ``sde``."""
        return nodes_of(self.grid, sde, self.num_steps)

    def last_time(self, sde: SDE) -> float:
        """The last node of the grid."""
        return float(self.times(sde)[-1])

    def part(self, sde: SDE, start: float | None = None, stop: float | None = None) -> GridPart:
        """The steps of the grid between two times."""
        return grid_part(self.times(sde), start, stop)


def nodes_of(
    grid: TimeGrid, sde: SDE, num_steps: int, *, starting: SDE | None = None
) -> Float[np.ndarray, " nodes"]:
    """The ``num_steps + 1`` nodes of a grid, distinct in float32.

    ``starting`` is the SDE restricted to the interval of the grid, if that is shorter
    than ``[t_min, t_max]``.

    Raises:
        ValueError: the number of nodes is wrong, they are not strictly decreasing, or
            they leave ``[t_min, t_max]``.
    """
    times = np.asarray(grid(starting or sde, num_steps), np.float64)
    if times.shape != (num_steps + 1,) or not (np.diff(times) < 0.0).all():
        raise ValueError(
            f"a grid of {num_steps} steps must have {num_steps + 1} falling times, got "
            f"{times.size}: {times.tolist()!r:.100}"
        )
    low, high = sde.t_min * (1.0 - 1e-6), sde.t_max * (1.0 + 1e-6)
    checks.require(
        times[-1] >= low and times[0] <= high,
        f"a grid from t={times[0]:g} to {times[-1]:g} must stay within t_max={sde.t_max:g} and "
        f"t_min={sde.t_min:g}",
    )
    return told_apart(np.clip(times, sde.t_min, sde.t_max))


def check_path(path: str) -> None:
    """Raise ``ValueError`` unless ``path`` is ``indexed`` or ``tree``."""
    checks.one_of(get_args(NoiseKind), path=path)


def check_eta(eta: float) -> None:
    """Raise ``ValueError`` unless the ``eta`` of DDIM is in [0, 1]."""
    checks.between(0, 1, eta=eta, because="where 0 is deterministic and 1 as noisy as DDPM")


def rescaled(solution: Solution, scale: Float[np.ndarray, " nodes"]) -> Solution:
    """Multiply a solution for ``y = x / scale`` by ``scale``, one value a node, to get ``x``."""
    if solution.path is None:
        return solution._replace(y=solution.y * float(scale[-1]))
    frame_scales = scale[frame_indices(len(scale) - 1, len(solution.path))].reshape(
        -1, *[1] * solution.y.ndim
    )
    path = solution.path * jnp.asarray(frame_scales, solution.y.dtype)
    return solution._replace(y=solution.y * float(scale[-1]), path=path)


def sample_of(solution: Solution, nfe: ScalarLike) -> Sample:
    """The sample at the end of a solve."""
    return Sample(solution.y, jnp.asarray(nfe), solution.path)


def part_to_end(
    sde: SDE,
    times: Float[np.ndarray, " nodes"],
    end: float,
    start: float | None,
    stop: float | None,
) -> GridPart:
    """The steps between two times of a grid with ``end`` as one more node: ``t_min``, or
    0 for a denoised sample. A stop at ``t_min`` means a stop at ``end``.
    """
    at_end = stop is None or np.float32(stop) == np.float32(sde.t_min)
    return grid_part(np.append(times, end), start, None if at_end else stop)


def solve_steps(
    problem: Problem,
    solver: AbstractSolver,
    part: GridPart,
    times: Float[np.ndarray, " steps"] | None = None,
) -> Sample:
    """Carry out the steps of a part, with one evaluation each. The state of the solver is
    ``x``, not rescaled, and its time is the index of the step.

    Args:
        problem: the solve.
        solver: the solver of the steps.
        part: the steps to carry out.
        times: the end time of each step of the whole grid. None is the next node, at
            least ``t_min``; if the last node is time 0, `Projection.finish` is applied
            to the sample and to the last frame.
    """
    to_data = times is None and float(part.times[part.last]) == 0.0
    arrivals = np.maximum(part.times[1:], problem.sde.t_min) if times is None else times
    solution = run_table(
        problem.projecting(solver, part, arrivals, to_data=to_data),
        problem.latent,
        part.num_steps,
        first=part.first,
        save_path=problem.save_path,
        progress=problem.progress,
    )
    drawn = sample_of(solution, part.num_steps)
    if problem.projection is None or not to_data:
        return drawn
    x = finished(problem.projection, problem.key, drawn.x)
    path = drawn.path
    if path is not None and problem.save_path > 1:  # a single frame is the latent
        path = path.at[-1].set(x)
    return Sample(x, drawn.nfe, path)
