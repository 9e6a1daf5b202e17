"""The shapes and functions that every room of the package speaks of.

One sample has any shape ``*shape``; times are scalars on ``[t_min, t_max]``. A batch is
made by ``jax.vmap``.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, PyTree, Shaped

Key: TypeAlias = PRNGKeyArray
"""A JAX random key, as made by ``jax.random.key``."""

if TYPE_CHECKING:
    # A static checker knows no shapes, and would have every scalar be a Boolean or a
    # complex number too.
    Scalar: TypeAlias = Array
    ScalarLike: TypeAlias = Array | float
else:
    Scalar: TypeAlias = Shaped[Array, ""]
    ScalarLike: TypeAlias = Shaped[ArrayLike, ""]
"""One number in an array of no dimensions, and whatever can be one: a Python number or
an array of no dimensions.
"""

ScoreFn: TypeAlias = Callable[[Float[Array, "*shape"], ScalarLike], Float[Array, "*shape"]]
"""``(x, t) -> grad_x log p_t(x)`` for one sample."""

VectorField: TypeAlias = Callable[[Float[Array, "*shape"], ScalarLike], Float[Array, "*shape"]]
"""``(x, t) -> dx/dt`` for one sample."""

LogProbFn: TypeAlias = Callable[[Float[Array, "*shape"], ScalarLike], Float[Array, " classes"]]
"""``(x, t) -> log p(y | x_t = x)`` for every class ``y``, of one example."""

Params: TypeAlias = PyTree[Shaped[ArrayLike, "..."]]
"""The parameters of a network: a nest of dictionaries of arrays."""


class Context(NamedTuple):
    """What a loss may know of the run besides the parameters being trained; no gradient
    flows into it.

    ``step``: how many updates have been made. ``ema_params``: the averaged parameters
    (as the target of a consistency objective). ``frozen``: the frozen parameters of the
    state, or None.
    """

    step: Scalar
    ema_params: Params
    frozen: Params | None = None


__all__ = [
    "Context",
    "Key",
    "LogProbFn",
    "Params",
    "Scalar",
    "ScalarLike",
    "ScoreFn",
    "VectorField",
]
