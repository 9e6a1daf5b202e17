"""Projections: constraints on the state after every step of a sampler, and the diffrax
solver that applies them.
"""

import abc
import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from score_sde.solvers import Cut, GridPart, step_key
from score_sde.typing import Key, Scalar, ScalarLike

PROJECTIONS, FINISH, START = (np.uint32(2**32 - 1 - i) for i in range(3))
"""The numbers that the keys of projections are folded with. They are no index of a
step: those are less than 2^31.
"""


class Projection(abc.ABC):
    """A constraint on samples, as a map of every state of a solve to one that meets it.

    Samplers apply `project` after each step (the predictor-corrector after its
    predictor and after each corrector) and `finish` to the denoised data. Single-step
    samplers on a fixed grid take a projection; the others raise ``ValueError``.

    A subclass is a frozen dataclass, and thereby a pytree. Its fields are arguments of
    the compiled program, so that another image does not compile again, except fields
    with ``metadata={"static": True}``, which are constants of the program.

    >>> import dataclasses, jax, jax.numpy as jnp, score_sde as ss
    >>> @dataclasses.dataclass(frozen=True)
    ... class Nonnegative(ss.Projection):
    ...     def project(self, key, x, t):
    ...         return x
    ...
    ...     def finish(self, key, x0):
    ...         return jnp.maximum(x0, 0.0)
    >>> Nonnegative().finish(jax.random.key(0), jnp.array([-1.0, 1.0]))
    Array([0., 1.], dtype=float32)
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        jax.tree_util.register_pytree_with_keys(
            cls, _flatten_with_keys, partial(_unflatten, cls), _flatten
        )

    @abc.abstractmethod
    def project(self, key: Key, x: Float[Array, "*shape"], t: ScalarLike) -> Float[Array, "*shape"]:
        """The state at time ``t`` that meets the constraint."""

    @abc.abstractmethod
    def finish(self, key: Key, x0: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The data that meet the constraint, from the denoised data."""


def _names(projection: Any, *, static: bool) -> list[str]:
    fields = dataclasses.fields(projection)
    return [field.name for field in fields if field.metadata.get("static", False) is static]


def _flatten(projection: Any) -> tuple[tuple[Any, ...], Any]:
    names, static = _names(projection, static=False), _names(projection, static=True)
    structure = tuple(names), tuple((name, getattr(projection, name)) for name in static)
    return tuple(getattr(projection, name) for name in names), structure


def _flatten_with_keys(projection: Any) -> tuple[Any, Any]:
    children, structure = _flatten(projection)
    keys = map(jax.tree_util.GetAttrKey, structure[0])
    return tuple(zip(keys, children, strict=True)), structure


def _unflatten(cls: type, structure: Any, children: Any) -> Any:
    """Without checks of the fields: JAX puts objects of its own in the place of arrays."""
    names, static = structure
    projection = object.__new__(cls)
    for name, value in (*zip(names, children, strict=True), *static):
        object.__setattr__(projection, name, value)
    return projection


def projection_key(key: Key | None, projection: Projection) -> Key:
    """The key of all projections of a solve, independent of the noise of the solver."""
    if key is None:
        raise ValueError(f"{type(projection).__name__} draws noise: give the solve a key")
    return jax.random.fold_in(key, PROJECTIONS)


def finished(
    projection: Projection, key: Key | None, x0: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """The data after `Projection.finish`, with the key of the solve."""
    own = jax.random.fold_in(projection_key(key, projection), FINISH)
    return _same_shape(projection, projection.finish(own, x0), x0)


def started(
    projection: Projection, key: Key | None, latent: Float[Array, "*shape"], t: ScalarLike
) -> Float[Array, "*shape"]:
    """A latent at ``t`` after `Projection.project`, with the key of the solve."""
    own = jax.random.fold_in(projection_key(key, projection), START)
    return projected(projection, own, latent, t)


def projected(
    projection: Projection, key: Key, x: Float[Array, "*shape"], t: ScalarLike
) -> Float[Array, "*shape"]:
    """The state after `Projection.project`, with a key of its own."""
    return _same_shape(projection, projection.project(key, x, t), x)


def refuse_projection(projection: Projection | None, sampler: Any, reason: str) -> None:
    """Raise ``ValueError`` if there is a projection, which the sampler does not take."""
    if projection is not None:
        raise ValueError(
            f"{type(sampler).__name__} takes no projection, for {reason}: choose a single-step "
            "sampler on a fixed grid, or condition the score function instead, which works under "
            "every sampler"
        )


def projecting(
    solver: diffrax.AbstractSolver,
    projection: Projection | None,
    key: Key | None,
    part: GridPart,
    times: Any,
    dtype: Any,
    *,
    scale: Any = None,
    to_data: bool = False,
) -> diffrax.AbstractSolver:
    """The solver, or where there is a projection, one that projects after each step.

    Args:
        solver: the solver of the steps.
        projection: the constraint.
        key: the key of the solve.
        part: the steps that are solved.
        times: the time at which every step of the whole grid arrives, the ends of the
            part included.
        dtype: the type of the state.
        scale: ``x / y`` at these times, for a solver of another state ``y`` than ``x``.
        to_data: whether the last step leads to the data, which are left to `finished`.
    """
    if projection is None:
        return solver
    if hasattr(solver, "scan_kind"):  # diffrax sets it for solvers that are not wrapped
        solver = eqx.tree_at(lambda s: s.scan_kind, solver, "lax", is_leaf=lambda x: x is None)
    return Projected(
        solver=solver,
        projection=projection,
        key=projection_key(key, projection),
        times=jnp.asarray(times, dtype),
        scale=None if scale is None else jnp.asarray(scale, dtype),
        first=part.first,
        cut=part.cut,
        to_data=part.last - 1 if to_data else None,
    )


class Projected(diffrax.AbstractWrappedSolver):
    """Another solver, and a projection after each of its steps.

    The solver state is the state of the other solver and the index of the step.
    """

    interpolation_cls: ClassVar[Callable[..., Any]] = diffrax.LocalLinearInterpolation

    solver: diffrax.AbstractSolver  # pyright: ignore[reportIncompatibleVariableOverride]
    projection: Projection
    key: Key
    times: Float[Array, " steps"]
    scale: Float[Array, " steps"] | None
    first: int = eqx.field(static=True)
    cut: Cut | None = eqx.field(static=True)
    to_data: int | None = eqx.field(static=True)

    @property
    def term_structure(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As for the other solver."""
        return self.solver.term_structure

    @property
    def term_compatible_contr_kwargs(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As for the other solver."""
        return self.solver.term_compatible_contr_kwargs

    @property
    def scan_kind(self) -> str:
        """The loop over stages, for the forward mode in which samplers solve."""
        return "lax"

    def order(self, terms: Any) -> None:
        """Not used: the grid is fixed."""

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> Any:
        """The other solver's state, and the index of the first step."""
        return self.solver.init(terms, t0, t1, y0, args), jnp.full((), self.first, jnp.int32)

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any
    ) -> Any:
        """A step of the other solver, then the projection."""
        inner, index = solver_state
        # The projection has moved the state, so that the other solver may not use values
        # of its last step again (the argument made_jump).
        y1, error, _, inner, result = self.solver.step(terms, t0, t1, y0, args, inner, True)
        scale: Scalar | float = 1.0 if self.scale is None else self.scale[index]
        key = step_key(self.key, index, self.cut)
        projected_y1 = projected(self.projection, key, y1 * scale, self.times[index]) / scale
        if self.to_data is not None:
            projected_y1 = jnp.where(index == self.to_data, y1, projected_y1)
        y1 = projected_y1.astype(y1.dtype)
        return y1, error, {"y0": y0, "y1": y1}, (inner, index + 1), result

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        """The vector field of the other solver."""
        return self.solver.func(terms, t0, y0, args)


def _same_shape(projection: Projection, result: Any, x: Any) -> Any:
    if jnp.shape(result) != x.shape:
        raise ValueError(
            f"{type(projection).__name__} made shape {jnp.shape(result)} of a state of shape "
            f"{x.shape}: a projection keeps the shape of the sample"
        )
    return jnp.asarray(result).astype(x.dtype)
