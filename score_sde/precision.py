"""Which numbers every function takes, and in which precision it computes: one rule, kept here.

* Integers and Booleans become floating-point numbers of JAX's default precision.
  Complex numbers are refused.
* A *state* (an example, a sample, a latent, a frame of a path) comes back in its own
  floating-point type, float16 and bfloat16 included.
* Everything is computed in float32 at least, and in float64 where the state is float64:
  times, counters, tables, noise and the state itself while it is carried along. In 8
  bits of mantissa a counter stops at 256, two nodes of a fine grid are one, and small
  increments are lost.
* Scores, drifts, losses and log probabilities are therefore float32 at least. A score
  function is called with such numbers, and may return any real type: a network that
  computes in bfloat16 casts its own input.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Shaped

from score_sde.typing import Key, ScalarLike, ScoreFn


def real(value: Shaped[ArrayLike, "*shape"], name: str = "x") -> Float[Array, "*shape"]:
    """``value`` as floating-point numbers: its own type, or the default one for
    integers and Booleans.

    Raises:
        ValueError: for complex numbers, and for whatever is not a number.
    """
    array = jnp.asarray(value)
    if jnp.issubdtype(array.dtype, jnp.floating):
        return array
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise ValueError(
            f"{name} is {array.dtype}, and densities are of real numbers: give real and imaginary "
            "part as two "
            "channels, jnp.stack([z.real, z.imag], -1)"
        )
    if jnp.issubdtype(array.dtype, jnp.integer) or array.dtype == jnp.bool_:
        return array.astype(float)
    raise ValueError(f"{name} must be real numbers, not {array.dtype}")


def wide(value: Shaped[ArrayLike, "*shape"], name: str = "x") -> Float[Array, "*shape"]:
    """``value`` as `real` has it, in float32 at least."""
    array = real(value, name)
    return array if array.dtype == wide_dtype(array.dtype) else array.astype(jnp.float32)


def whole(value: Shaped[ArrayLike, "*shape"], name: str) -> Int[Array, "*shape"]:
    """``value`` as whole numbers, which an index must be.

    Raises:
        ValueError: for all other types.
    """
    array = jnp.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise ValueError(f"{name} must be a whole number, not {array.dtype}")
    return array


def wide_dtype(dtype: Any) -> Any:
    """The type to compute in: float32 for shorter floating-point types, else ``dtype`` itself."""
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.dtype("float32")


def wide_time(t: ScalarLike, name: str = "t") -> ScalarLike:
    """A time, or another number of a schedule, in float32 at least; a Python number
    stays one, as a float.
    """
    if isinstance(t, float):
        return t
    return float(t) if isinstance(t, (bool, int)) else wide(t, name)


def wide_score(score_fn: ScoreFn) -> ScoreFn:
    """``score_fn``, whose result has the type of the state, whatever the network computed in.

    It has a method ``denoised`` where ``score_fn`` has one.
    """

    def as_x(function: Callable[..., Array], name: str) -> Callable[..., Array]:
        return lambda x, t: real(function(x, t), name).astype(x.dtype)

    score = as_x(score_fn, "the score")
    image = getattr(score_fn, "denoised", None)
    if image is not None:
        setattr(score, "denoised", as_x(image, "the denoised image"))  # noqa: B010 - a function has no such field
    return score


def as_state(value: Any, like: Shaped[ArrayLike, "..."]) -> Any:
    """Every array of ``value`` in the floating-point type of the state that was given."""
    dtype = real(like).dtype
    return jax.tree.map(lambda leaf: leaf.astype(dtype), value)


def keeps_type(step: Callable[..., Array]) -> Callable[..., Array]:
    """A step ``(key, sde, score_fn, x, t, t_next, **options) -> x``, as a decorator,
    for states of any real type.
    """

    @functools.wraps(step)
    def wrapped(
        key: Key,
        sde: Any,
        score_fn: ScoreFn,
        x: Shaped[ArrayLike, "*shape"],
        t: ScalarLike,
        t_next: ScalarLike,
        **options: Any,
    ) -> Float[Array, "*shape"]:
        stepped = step(
            key,
            sde,
            wide_score(score_fn),
            wide(x),
            wide_time(t),
            wide_time(t_next, "t_next"),
            **options,
        )
        return as_state(stepped, x)

    return wrapped
