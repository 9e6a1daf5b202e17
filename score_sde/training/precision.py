"""Sums over many updates, such as averages and moments, need float32 at least, whatever
the parameters are kept in.
"""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike

from score_sde.precision import wide

Tree = TypeVar("Tree")


def widened(tree: Tree) -> Tree:
    """The same values, floating-point arrays of fewer than 32 bits as float32; all
    other arrays as they are.

    In half precision an average ``m + rate (x - m)`` stands still as soon as its steps
    are below the spacing of the numbers near ``m``: a rate of 1e-4 moves no bfloat16 by
    less than 1/256 of it, and no float16 by less than 1/2048.
    """
    return jax.tree.map(_wide, tree)


def in_float32(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same optimizer, its state and its updates in float32 at least; nothing
    changes for float32 and float64.

    The updates are then to be added in float32 too, as ``optax.apply_updates`` does,
    before the sum is rounded to the type of the parameters. The structure of the state
    is that of ``optimizer``.
    """

    def init(params: optax.Params) -> optax.OptState:
        return optimizer.init(widened(params))

    def update(
        updates: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
        **extra: Any,
    ) -> tuple[optax.Updates, optax.OptState]:
        return optimizer.update(widened(updates), state, widened(params), **extra)

    return optax.GradientTransformationExtraArgs(init, update)


def _wide(leaf: ArrayLike) -> Array:
    array = jnp.asarray(leaf)
    return wide(array) if jnp.issubdtype(array.dtype, jnp.floating) else array
