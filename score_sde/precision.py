"""The rule of the package for numeric types, and the functions that apply it.

* Integers and Booleans become floating-point numbers of JAX's default precision.
  Complex numbers raise ``ValueError``.
* A *state* (an example, a sample, a latent, a frame of a path) is returned in its own
  floating-point type, float16 and bfloat16 included.
* All computations are in float32 at least, and in float64 where the state is float64:
  times, counters, tables, noise, and the state during a solve. With the 8 bits of
  bfloat16 a counter stops at 256, neighbouring nodes of a fine grid coincide, and small
  increments are lost.
* Scores, drifts, losses and log probabilities are therefore float32 at least. A score
  function gets such numbers, and may return any real type: a network that computes in
  bfloat16 casts its input itself.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Shaped

from score_sde import checks
from score_sde.typing import SampleLike, Scalar, ScalarLike, ScoreFn


def real(value: SampleLike, name: str = "x") -> Float[Array, "*shape"]:
    """``value`` as floating-point numbers: in its own type, or in the default type for
    integers and Booleans.

    Raises:
        ValueError: where the values are complex or no numbers.
    """
    array = jnp.asarray(value)
    if jnp.issubdtype(array.dtype, jnp.floating):
        return array
    checks.require(
        not jnp.issubdtype(array.dtype, jnp.complexfloating),
        f"{name} is {array.dtype} and must be real: give real and imaginary part as two "
        "channels, jnp.stack([z.real, z.imag], -1)",
    )
    checks.require(
        jnp.issubdtype(array.dtype, jnp.integer) or array.dtype == jnp.bool_,
        f"{name} must be real numbers, not {array.dtype}",
    )
    return array.astype(float)


def wide(value: SampleLike, name: str = "x") -> Float[Array, "*shape"]:
    """``real(value)`` in float32 at least."""
    array = real(value, name)
    return array if array.dtype == wide_dtype(array.dtype) else array.astype(jnp.float32)


def whole(value: SampleLike, name: str) -> Int[Array, "*shape"]:
    """``value`` as an array of integers, for an index.

    Raises:
        ValueError: for all other types.
    """
    array = jnp.asarray(value)
    checks.require(
        jnp.issubdtype(array.dtype, jnp.integer),
        f"{name} must be a whole number, not {array.dtype}",
    )
    return array


def wide_dtype(dtype: Any) -> Any:
    """The type of a computation: float32 for shorter floating-point types, else ``dtype``."""
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.dtype("float32")


def wide_time(t: ScalarLike, name: str = "t") -> ScalarLike:
    """A time, or another number of a schedule, in float32 at least; a Python number
    becomes a Python float.
    """
    if isinstance(t, float):
        return t
    return float(t) if isinstance(t, (bool, int)) else wide(t, name)


def wide_score(score_fn: ScoreFn) -> ScoreFn:
    """``score_fn`` with its result in the type of the state, and with the attribute
    ``denoised`` if ``score_fn`` has one.
    """

    def as_x(function: Callable[..., Array], name: str) -> Callable[..., Array]:
        return lambda x, t: real(function(x, t), name).astype(x.dtype)

    score = as_x(score_fn, "the score")
    image = getattr(score_fn, "denoised", None)
    if image is not None:
        setattr(score, "denoised", as_x(image, "the denoised image"))  # noqa: B010 - a function has no such field
    return score


def as_state(value: Any, like: Shaped[ArrayLike, "..."]) -> Any:
    """Every array of ``value`` in the floating-point type of the state ``like``."""
    dtype = real(like).dtype
    return jax.tree.map(lambda leaf: leaf.astype(dtype), value)


def unknown(dtype: Any) -> Scalar | None:
    """NaN, for a number that is not known; None under ``jax_debug_nans``, for which a NaN
    in the result of a compiled function is an error.

    >>> unknown(jax.numpy.float32)
    Array(nan, dtype=float32)
    """
    return None if nans_raise() else jnp.full((), jnp.nan, dtype)


def nans_raise() -> bool:
    """Whether ``jax_debug_nans`` is on."""
    return jax.config.jax_debug_nans  # pyright: ignore[reportAttributeAccessIssue]


def varying_axes(tree: Any) -> tuple[str, ...]:
    """The mesh axes over which arrays of ``tree`` may differ between devices, inside a
    ``jax.shard_map`` with its default checks; none elsewhere.
    """

    def axes(leaf: Array) -> frozenset[str]:
        kind: Any = jax.typeof(leaf)
        # The name of the field depends on the version of JAX.
        return kind.manual_axis_type.varying if hasattr(kind, "manual_axis_type") else kind.vma

    arrays = [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array)]
    return tuple(sorted(frozenset().union(*map(axes, arrays))))


def varying(tree: Any, axes: tuple[str, ...]) -> Any:
    """The same values, which ``shard_map`` then treats as different on each device.

    A loop needs this for a constant from which its state starts.
    """

    def cast(leaf: ArrayLike) -> Array:
        missing = tuple(axis for axis in axes if axis not in varying_axes(leaf))
        return jax.lax.pcast(jnp.asarray(leaf), missing, to="varying")

    return jax.tree.map(cast, tree) if axes else tree
