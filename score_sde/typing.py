"""Types that the whole package uses.

One sample has any shape ``*shape``; times are scalars on ``[t_min, t_max]``. A batch is
made by ``jax.vmap``.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, PyTree, Shaped
from typing_extensions import TypeAliasType

# A `TypeAliasType` keeps its name, so that `help` shows `score_fn: ScoreFn` and not the
# expanded type.
Key = TypeAliasType("Key", PRNGKeyArray)
"""A JAX random key, from ``jax.random.key``."""

if TYPE_CHECKING:
    # A static checker knows no shapes, and would have every scalar be a Boolean or a
    # complex number too.
    Scalar: TypeAlias = Array
    ScalarLike: TypeAlias = Array | float
else:
    Scalar = TypeAliasType("Scalar", Shaped[Array, ""])
    ScalarLike = TypeAliasType("ScalarLike", Shaped[ArrayLike, ""])
"""A JAX scalar, and anything that becomes one: a Python or NumPy number too."""

SampleLike = TypeAliasType("SampleLike", Shaped[ArrayLike, "*shape"])
"""One sample: a JAX or NumPy array of any real dtype, or a number."""

ScoreFn = TypeAliasType(
    "ScoreFn", Callable[[Float[Array, "*shape"], ScalarLike], Float[Array, "*shape"]]
)
"""``(x, t) -> grad_x log p_t(x)`` for one sample."""

VectorField = TypeAliasType(
    "VectorField", Callable[[Float[Array, "*shape"], ScalarLike], Float[Array, "*shape"]]
)
"""``(x, t) -> dx/dt`` for one sample."""

LogProbFn = TypeAliasType(
    "LogProbFn", Callable[[Float[Array, "*shape"], ScalarLike], Float[Array, " classes"]]
)
"""``(x, t) -> [log p(y | x_t = x) for each class y]`` for one sample."""

Params = TypeAliasType("Params", PyTree[Shaped[ArrayLike, "..."]])
"""The parameters of a network: nested dictionaries of arrays."""


class Context(NamedTuple):
    """The state of a training run, for a loss; gradients do not flow through it.

    ``step``: the number of updates so far. ``ema_params``: the averaged parameters, the
    target network of a consistency loss. ``frozen``: parameters that are not trained,
    or None.
    """

    step: Scalar
    ema_params: Params
    frozen: Params | None = None


__all__ = [
    "Context",
    "Key",
    "LogProbFn",
    "Params",
    "SampleLike",
    "Scalar",
    "ScalarLike",
    "ScoreFn",
    "VectorField",
]
