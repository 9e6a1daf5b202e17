"""The one place where diffrax integrates, always on a clock that runs forward.

Clocks and states are in float32 at least; results have the types of the given states.
A solve on a fixed grid is as cheap as a hand-written loop; an adaptive solve controls
the error of each sample separately.
"""

import typing
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree
from typing_extensions import TypeAliasType

from score_sde import checks
from score_sde.precision import as_state, wide
from score_sde.solvers.brownian import (
    TREE_TOLERANCE,
    AdditiveNoise,
    IndexedBrownianPath,
    brownian_tree,
)
from score_sde.solvers.clock import Clock
from score_sde.solvers.lattice import OnLattice
from score_sde.solvers.parts import Cut, GridPart, whole_grid
from score_sde.solvers.progress import ProgressMeter
from score_sde.solvers.shards import on_each_device
from score_sde.typing import Key, Scalar, ScalarLike

State: TypeAlias = PyTree[Float[Array, "..."]]
StateField: TypeAlias = Callable[[Any, ScalarLike], Any]
"""``(y, t) -> dy/dt`` for a pytree ``y``."""

Differentiate: TypeAlias = Literal["forward", "reverse"]
"""The supported differentiation of a solve: ``forward`` (only ``jax.jvp``; the
cheapest) or ``reverse`` (``jax.grad`` too, by checkpoints).
"""


ErrorNorm: TypeAlias = Literal["rms", "max"]
"""The norm of the error of a state: root mean square, or largest absolute value."""

ProgressFn = TypeAliasType("ProgressFn", Callable[[float], None])
"""Called on the host with the completed fraction of a solve."""

REPORTS = 20
"""The approximate number of reports of a solve. One takes half a millisecond or more of
a CPU, as long as a step of a tiny network.
"""


class Noise(NamedTuple):
    """Additive noise ``diffusion(t) dw``, drawn from ``key`` by the index of the step.

    With ``tree`` it comes from one Brownian path, the same for every grid and every
    adaptive solve over the same times.
    """

    key: Key
    diffusion: Callable[[ScalarLike], ScalarLike]
    tree: bool = False


@dataclass(frozen=True)
class Tolerances:
    """The accuracy of an adaptive solve, and how many steps it may take.

    ``rtol``, ``atol``: a step is kept where its error is at most ``atol + rtol |y|`` in
    the ``norm``. ``max_steps``: where it runs out, the solution is NaN. ``axis_name``: an
    enclosing ``jax.vmap``, ``pmap`` or ``shard_map`` axis, over which the largest error
    counts: all samples then take the same steps, which is cheaper than waiting for the
    slowest at every step, but lets a sample's last digits depend on its batch.
    """

    rtol: float
    atol: float
    max_steps: int = 4096
    norm: ErrorNorm = "rms"
    axis_name: str | None = None

    def __post_init__(self) -> None:
        checks.positive(rtol=self.rtol, atol=self.atol)
        checks.at_least(1, max_steps=self.max_steps)
        checks.one_of(typing.get_args(ErrorNorm), norm=self.norm)


class Solution(NamedTuple):
    """The result of a solve.

    ``y``: the state at the last time, NaN where the solve failed. ``path``:
    ``[save_path, ...]`` frames from the first time to the last, or None. ``num_steps``:
    the number of steps tried, rejected ones included. ``success``: false where
    ``max_steps`` was exceeded or the state was not finite.
    """

    y: State
    path: State | None
    num_steps: Int[Array, ""]
    success: Bool[Array, ""]


def solve_on_grid(
    drift: StateField,
    y0: State,
    times: Float[np.ndarray, " nodes"] | GridPart,
    solver: diffrax.AbstractSolver,
    *,
    noise: Noise | None = None,
    save_path: int = 0,
    differentiate: Differentiate = "forward",
    progress: ProgressFn | None = None,
) -> Solution:
    """Integrate ``dy = drift(y, t) dt + diffusion(t) dw`` with one step of ``solver``
    per interval of ``times``.

    Args:
        drift: the vector field; times may decrease, in which case ``dy = -drift ds`` on
            the forward clock.
        y0: the state at the first of the times.
        times: strictly monotonic times, rising or falling; or a part of falling ones.
        solver: a diffrax solver.
        noise: adds the noise term; None solves an ODE.
        save_path: the number of frames to keep, at nodes of the grid spread evenly by
            index.
        differentiate: which derivatives the solve must support.
        progress: called on the host about 20 times, with the completed fraction of the
            steps.
    """
    # A Brownian tree starts at 0. Every other clock is t itself, which is more precise
    # near the data.
    make_clock = Clock.between if noise is not None and noise.tree else Clock.signed
    part = times if isinstance(times, GridPart) else whole_grid(times)
    clock, state = make_clock(*part.whole), _carried(y0)
    elapsed = np.asarray(clock.elapsed(part.times))
    nodes = visited = jnp.asarray(elapsed, dtype=_dtype(state))
    if part.num_steps < len(elapsed) - 1:
        visited = jnp.asarray(elapsed[part.nodes], dtype=_dtype(state))
    end = None
    if elapsed[-1] != clock.elapsed(part.whole[1]):
        end = jnp.asarray(clock.elapsed(part.whole[1]), dtype=_dtype(state))
    terms = _terms(drift, clock, noise, nodes, state, end, part.cut)
    return _like(_solve(terms, state, visited, solver, save_path, differentiate, progress), y0)


def run_table(
    solver: diffrax.AbstractSolver,
    y0: State,
    num_steps: int,
    *,
    first: int = 0,
    save_path: int = 0,
    differentiate: Differentiate = "forward",
    progress: ProgressFn | None = None,
) -> Solution:
    """``num_steps`` tabulated steps of a solver, from the step ``first`` on, on a clock
    that counts the steps.
    """
    terms = diffrax.ODETerm(lambda s, y, args: jax.tree.map(jnp.zeros_like, y))
    state = _carried(y0)
    nodes = jnp.arange(first, first + num_steps + 1, dtype=_dtype(state))
    return _like(_solve(terms, state, nodes, solver, save_path, differentiate, progress), y0)


def _solve(
    terms: Any,
    y0: State,
    nodes: Float[Array, " nodes"],
    solver: diffrax.AbstractSolver,
    save_path: int,
    differentiate: Differentiate,
    progress: ProgressFn | None,
) -> Solution:
    """One step of ``solver`` per interval of ``nodes``."""
    num_steps = len(nodes) - 1
    frames = nodes[frame_indices(num_steps, save_path)] if save_path else None
    solve = partial(
        diffrax.diffeqsolve,
        terms,
        solver,
        t0=nodes[0],
        t1=nodes[-1],
        dt0=None,
        stepsize_controller=diffrax.StepTo(nodes),
        saveat=_save_at(frames),
        adjoint=_adjoint(differentiate),
        max_steps=num_steps,
        progress_meter=_meter(progress, num_steps),
        throw=False,
    )
    return on_each_device(lambda y: _solution(solve(y0=y), frames), y0)


def frame_indices(num_steps: int, save_path: int) -> Int[np.ndarray, " frames"]:
    """The nodes of a grid at which ``save_path`` frames are kept, evenly spaced by
    index from the first to the last.
    """
    return np.rint(np.linspace(0, num_steps, save_path)).astype(int)


def solve_adaptively(
    drift: StateField,
    y0: State,
    t_start: float,
    t_stop: float,
    solver: diffrax.AbstractSolver,
    tolerances: Tolerances,
    *,
    noise: Noise | None = None,
    save_path: int = 0,
    differentiate: Differentiate = "forward",
    progress: ProgressFn | None = None,
    whole: tuple[float, float] | None = None,
) -> Solution:
    """Integrate ``dy = drift(y, t) dt + diffusion(t) dw`` with steps that keep the
    local error within the tolerances.

    The noise, if any, must be a ``tree``, since a rejected step evaluates its path
    again. The path is the one over the ``whole`` interval, of which the solve may be a
    part.

    The error norm is the largest root-mean-square, or the largest number, over the
    leaves of ``y``.
    """
    clock, state = Clock.between(*(whole or (t_start, t_stop))), _carried(y0)
    stop = end = length = jnp.asarray(clock.elapsed(t_stop), dtype=_dtype(state))
    start: Any = 0.0
    if whole is not None and whole != (t_start, t_stop):
        start, end = (
            jnp.asarray(clock.elapsed(t), dtype=_dtype(state)) for t in (t_start, whole[1])
        )
        length = stop - start
    frames = jnp.linspace(start, stop, save_path) if save_path else None
    solve = partial(
        diffrax.diffeqsolve,
        _terms(drift, clock, noise, jnp.stack([jnp.zeros_like(end), end]), state),
        solver,
        t0=jnp.full_like(stop, start),
        t1=stop,
        # diffrax's own choice would be 0.01 whatever the length, since the wrapper hides
        # the equation from it.
        dt0=0.01 * length,
        stepsize_controller=_controller(tolerances, end, on_tree=noise is not None),
        saveat=_save_at(frames),
        adjoint=_adjoint(differentiate),
        max_steps=tolerances.max_steps,
        progress_meter=_meter(progress, None),
        throw=False,
    )
    return _like(on_each_device(lambda y: _solution(solve(y0=y), frames), state), y0)


def _terms(
    drift: StateField,
    clock: Clock,
    noise: Noise | None,
    nodes: Any,
    y0: State,
    end: Any = None,
    cut: Cut | None = None,
) -> Any:
    """The diffrax terms of the equation on the forward clock; a Brownian tree ends at
    ``end``, or at the last node.
    """

    def field(s: Any, y: Any, args: Any) -> Any:
        velocity = drift(y, clock.time(s))
        # A loop must keep the type of the state, whatever the type of the drift.
        return jax.tree.map(lambda v, leaf: (clock.direction * v).astype(leaf.dtype), velocity, y)

    ode = diffrax.ODETerm(field)
    if noise is None:
        return ode
    like = jax.ShapeDtypeStruct(y0.shape, y0.dtype)
    if noise.tree:
        path = brownian_tree(
            noise.key, nodes[-1] if end is None else end, like, diffrax.SpaceTimeLevyArea
        )
    else:
        options: dict[str, Any] = {} if cut is None else {"cut": cut}
        path = IndexedBrownianPath(key=noise.key, nodes=nodes, noise_like=like, **options)
    return diffrax.MultiTerm(
        ode, AdditiveNoise(lambda s: jnp.asarray(noise.diffusion(clock.time(s)), y0.dtype), path)
    )


def _controller(
    tolerances: Tolerances, length: Scalar, *, on_tree: bool
) -> diffrax.AbstractAdaptiveStepSizeController:
    """A controller of the steps by the last error; on a Brownian tree, the steps end on
    nodes of the tree.
    """
    norm = _error_norm(tolerances.norm, tolerances.axis_name)
    make = partial(diffrax.PIDController, rtol=tolerances.rtol, atol=tolerances.atol, norm=norm)
    if not on_tree:
        return make()
    # A tree has no finer detail: steps of this length are accepted whatever their error.
    spacing = 4.0 * TREE_TOLERANCE * length
    # diffrax does not recognise AdditiveNoise as noise, so we give the order of the
    # error: the strong order 1.5 plus 1/2.
    return OnLattice(make(error_order=2.0, dtmin=spacing), spacing)


def _error_norm(kind: ErrorNorm, axis_name: str | None) -> Callable[[State], Scalar]:
    """The largest norm over the leaves, so that a large leaf does not hide a small one."""

    def size(leaf: Any) -> Any:
        return jnp.sqrt(jnp.mean(jnp.square(leaf))) if kind == "rms" else jnp.max(jnp.abs(leaf))

    def norm(error: State) -> Scalar:
        largest = jnp.max(jnp.stack([size(leaf) for leaf in jax.tree.leaves(error)]))
        return largest if axis_name is None else jax.lax.pmax(largest, axis_name)

    return norm


def _save_at(frames: Any) -> diffrax.SaveAt:
    last = diffrax.SubSaveAt(t1=True)
    return diffrax.SaveAt(subs=(last,) if frames is None else (last, diffrax.SubSaveAt(ts=frames)))


def _adjoint(differentiate: Differentiate) -> diffrax.AbstractAdjoint:
    checks.one_of(typing.get_args(Differentiate), differentiate=differentiate)
    return (
        diffrax.ForwardMode()
        if differentiate == "forward"
        else diffrax.RecursiveCheckpointAdjoint()
    )


def _meter(progress: ProgressFn | None, num_steps: int | None) -> diffrax.AbstractProgressMeter:
    """A meter that makes about ``REPORTS`` reports, or one per step where the number of
    steps is unknown.
    """
    if progress is None:
        return diffrax.NoProgressMeter()
    return ProgressMeter(
        report=progress, every=max(1, (num_steps or 0) // REPORTS), num_steps=num_steps
    )


def _carried(y0: State) -> State:
    """The state in the type of the solve and of its clock: bfloat16 counts to 256, and
    loses increments below 1/256.
    """
    return jax.tree.map(wide, y0)


def _like(solution: Solution, y0: State) -> Solution:
    """The solution in the types of the given state ``y0``."""
    path = None if solution.path is None else jax.tree.map(as_state, solution.path, y0)
    return solution._replace(y=jax.tree.map(as_state, solution.y, y0), path=path)


def _dtype(y0: State) -> Any:
    return jnp.result_type(*jax.tree.leaves(y0))


def _solution(solution: diffrax.Solution, frames: Any) -> Solution:
    success = solution.result == diffrax.RESULTS.successful
    last, *rest = cast(tuple[Any, ...], solution.ys)
    y = jax.tree.map(lambda leaf: jnp.where(success, leaf[0], jnp.nan), last)
    return Solution(
        y, rest[0] if rest else None, jnp.asarray(solution.stats["num_steps"]), jnp.asarray(success)
    )
