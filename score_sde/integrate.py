"""The one place where diffrax integrates, always on the forward clock ``s = |t - t_start|``.

A fixed grid costs what a hand-written loop costs; adaptive solves control the error of every sample by itself.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from score_sde.solvers import AdditiveNoise, Clock, IndexedBrownianPath
from score_sde.typing import Key, Scalar, ScalarLike

State: TypeAlias = PyTree[Float[Array, "..."]]
StateField: TypeAlias = Callable[[Any, ScalarLike], Any]
"""``(y, t) -> dy/dt`` for a pytree ``y``."""

Differentiate: TypeAlias = Literal["forward", "reverse"]
"""How a solve may be differentiated: ``forward`` (jvp alone; the cheapest) or ``reverse`` (grad, by checkpoints)."""


class Noise(NamedTuple):
    """Additive noise ``diffusion(t) dw``, drawn from ``key`` by the index of the step."""

    key: Key
    diffusion: Callable[[ScalarLike], ScalarLike]


class Solution(NamedTuple):
    """What a solve arrives at.

    ``y``: the state at the last time, NaN where the solve failed. ``path``: ``[save_path, ...]`` frames from the
    first time to the last, or None. ``num_steps``: steps tried, rejected ones included. ``success``: false if
    ``max_steps`` ran out or the state left the finite numbers.
    """

    y: State
    path: State | None
    num_steps: Int[Array, ""]
    success: Bool[Array, ""]


def solve_on_grid(
    drift: StateField,
    y0: State,
    times: Float[np.ndarray, " nodes"],
    solver: diffrax.AbstractSolver,
    *,
    noise: Noise | None = None,
    save_path: int = 0,
    differentiate: Differentiate = "forward",
) -> Solution:
    """Integrate ``dy = drift(y, t) dt + diffusion(t) dw`` with one step of ``solver`` per interval of ``times``.

    Args:
        drift: the vector field; times may decrease, in which case ``dy = -drift ds`` on the forward clock.
        y0: the state at ``times[0]``.
        times: strictly monotonic times, rising or falling.
        solver: a diffrax solver.
        noise: adds the noise term; None solves an ODE.
        save_path: the number of frames to keep, at nodes of the grid spread evenly by index.
        differentiate: which derivatives the solve must support.
    """
    clock = Clock.between(float(times[0]), float(times[-1]))
    nodes = jnp.asarray(clock.elapsed(times), dtype=_dtype(y0))
    terms = _terms(drift, clock, noise, nodes, y0)
    num_steps = len(times) - 1
    frames = nodes[np.rint(np.linspace(0, num_steps, save_path)).astype(int)] if save_path else None
    solution = diffrax.diffeqsolve(
        terms,
        solver,
        t0=nodes[0],
        t1=nodes[-1],
        dt0=None,
        y0=y0,
        stepsize_controller=diffrax.StepTo(nodes),
        saveat=_save_at(frames),
        adjoint=_adjoint(differentiate),
        max_steps=num_steps,
        throw=False,
    )
    return _solution(solution, frames)


def solve_adaptively(
    drift: StateField,
    y0: State,
    t_start: float,
    t_stop: float,
    solver: diffrax.AbstractSolver,
    *,
    rtol: float,
    atol: float,
    max_steps: int,
    axis_name: str | None = None,
    save_path: int = 0,
    differentiate: Differentiate = "forward",
) -> Solution:
    """Integrate the ODE ``dy/dt = drift(y, t)`` with steps chosen so that the local error stays within tolerance.

    The error norm is the largest root-mean-square over the leaves of ``y``. With ``axis_name``, the name of an
    enclosing ``jax.vmap``, ``pmap`` or ``shard_map`` axis, it is the largest over that axis too: all samples then
    take the same steps, which is cheaper than waiting for the slowest at every step, but lets a sample's last digits
    depend on its batch.
    """
    clock = Clock.between(t_start, t_stop)
    stop = jnp.asarray(clock.elapsed(t_stop), dtype=_dtype(y0))
    frames = jnp.linspace(0.0, stop, save_path) if save_path else None
    solution = diffrax.diffeqsolve(
        _terms(drift, clock, None, None, y0),
        solver,
        t0=jnp.zeros_like(stop),
        t1=stop,
        # diffrax's own choice would be 0.01, whatever the length: it does not see the equation through its wrapper.
        dt0=0.01 * stop,
        y0=y0,
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol, norm=_error_norm(axis_name)),
        saveat=_save_at(frames),
        adjoint=_adjoint(differentiate),
        max_steps=max_steps,
        throw=False,
    )
    return _solution(solution, frames)


def _terms(drift: StateField, clock: Clock, noise: Noise | None, nodes: Any, y0: State) -> Any:
    """The diffrax terms of the equation on the forward clock."""

    def field(s: Any, y: Any, args: Any) -> Any:
        velocity = drift(y, clock.time(s))
        return jax.tree.map(lambda v: clock.direction * v, velocity)

    ode = diffrax.ODETerm(field)
    if noise is None:
        return ode
    path = IndexedBrownianPath(key=noise.key, nodes=nodes, noise_like=jax.ShapeDtypeStruct(y0.shape, y0.dtype))
    return diffrax.MultiTerm(ode, AdditiveNoise(lambda s: noise.diffusion(clock.time(s)), path))


def _error_norm(axis_name: str | None) -> Callable[[State], Scalar]:
    """The largest root-mean-square over the leaves, so that a small leaf is not drowned by a large one."""

    def norm(error: State) -> Scalar:
        largest = jnp.max(jnp.stack([jnp.sqrt(jnp.mean(jnp.square(leaf))) for leaf in jax.tree.leaves(error)]))
        return largest if axis_name is None else jax.lax.pmax(largest, axis_name)

    return norm


def _save_at(frames: Any) -> diffrax.SaveAt:
    last = diffrax.SubSaveAt(t1=True)
    return diffrax.SaveAt(subs=(last,) if frames is None else (last, diffrax.SubSaveAt(ts=frames)))


def _adjoint(differentiate: Differentiate) -> diffrax.AbstractAdjoint:
    return diffrax.ForwardMode() if differentiate == "forward" else diffrax.RecursiveCheckpointAdjoint()


def _dtype(y0: State) -> Any:
    return jnp.result_type(*jax.tree.leaves(y0))


def _solution(solution: diffrax.Solution, frames: Any) -> Solution:
    success = solution.result == diffrax.RESULTS.successful
    last, *rest = cast(tuple[Any, ...], solution.ys)
    y = jax.tree.map(lambda leaf: jnp.where(success, leaf[0], jnp.nan), last)
    return Solution(y, rest[0] if rest else None, jnp.asarray(solution.stats["num_steps"]), jnp.asarray(success))
