"""Averages and moments in float32 at least, whatever the type of the parameters: sums of
many small terms need it.
"""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike

from score_sde.precision import wide

Tree = TypeVar("Tree")


def widened(tree: Tree) -> Tree:
    """A tree with its half-precision arrays as float32, and all others unchanged.

    A half-precision average ``m + rate (x - m)`` does not change where its increment is
    less than about ``m / 256`` (bfloat16) or ``m / 2048`` (float16). At a rate of 1e-4
    nearly every increment is.

    >>> import jax.numpy as jnp
    >>> widened({"w": jnp.ones(2, jnp.bfloat16), "n": jnp.ones(2, jnp.int32)})
    {'n': Array([1, 1], dtype=int32), 'w': Array([1., 1.], dtype=float32)}
    """
    return jax.tree.map(_wide, tree)


def in_float32(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """An optimizer with its state and updates in float32 at least; one of float32 or
    float64 parameters does not change.

    The updates are to be added in float32 too, as ``optax.apply_updates`` does before it
    rounds the sum to the type of the parameters. The state has the structure of
    ``optimizer``'s.
    """

    def init(params: optax.Params) -> optax.OptState:
        return optimizer.init(widened(params))

    def update(
        updates: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
        **extra: Any,
    ) -> tuple[optax.Updates, optax.OptState]:
        # optax raises floats to the power of an integer, also under strict promotion.
        with jax.numpy_dtype_promotion("standard"):
            return optimizer.update(widened(updates), state, widened(params), **extra)

    return optax.GradientTransformationExtraArgs(init, update)


def _wide(leaf: ArrayLike) -> Array:
    array = jnp.asarray(leaf)
    return wide(array) if jnp.issubdtype(array.dtype, jnp.floating) else array
