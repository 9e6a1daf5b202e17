"""Networks written in flax.nnx."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from score_sde import checks
from score_sde.models.base import ScoreNetwork, network_of_call
from score_sde.models.calls import NEEDS_KEY, Call
from score_sde.models.conditions import Condition
from score_sde.models.labels import TimeLabels
from score_sde.typing import Key, Params


def from_nnx(
    module: nnx.Module | Callable[..., nnx.Module],
    *,
    labels: TimeLabels | None = None,
    condition: Condition | None = None,
) -> ScoreNetwork:
    """Make a `ScoreNetwork` of a flax.nnx module: ``from_nnx(lambda rngs:
    Net(rngs=rngs))``.

    The module is called as ``module(x, t)`` with ``x [b, *shape]`` and ``t [b]``, and
    with the keywords ``condition``, ``present``, ``train`` and ``rngs`` if its
    ``__call__`` has them as arguments. Dropout is on in training alone, by the module's
    own switch (``module.train()``), with randomness from ``key``, whatever random
    streams the module has.

    >>> import jax, score_sde as ss
    >>> from flax import nnx
    >>> class Net(nnx.Module):
    ...     def __init__(self, rngs):
    ...         self.linear = nnx.Linear(2, 2, rngs=rngs)
    ...     def __call__(self, x, t):
    ...         return t[:, None] * self.linear(x)
    >>> network = ss.from_nnx(Net)
    >>> jax.eval_shape(network.init, jax.random.key(0))["linear"]["kernel"].shape
    (2, 2)

    Args:
        module: a function ``rngs -> module``, such as a class whose constructor takes
            ``rngs`` alone, for new parameters at each ``init(key)``; or a module, such
            as a trained one, whose parameters every ``init`` returns. It is not
            changed.
        labels: the valid time labels; None for any number.
        condition: the form of its condition.

    Returns:
        The network; its parameters are the module's ``nnx.Param``, as nested
            dictionaries.

    Raises:
        ValueError: the module has variables besides parameters and random streams, such
            as the statistics of ``nnx.BatchNorm``, or no argument for the condition; at
            ``apply``, dropout is on and there is no key.
    """
    make = (lambda rngs: module) if isinstance(module, nnx.Module) else _called(module)
    abstract = (
        module if isinstance(module, nnx.Module) else nnx.eval_shape(lambda: make(nnx.Rngs(0)))
    )
    if not isinstance(abstract, nnx.Module):  # narrows the type
        raise ValueError(
            f"from_nnx takes a module, or a function rngs -> module, got {module!r:.100}"
        )
    graph, template, streams, others = nnx.split(abstract, nnx.Param, nnx.RngState, ...)
    _check_no(others)
    call = Call.of(abstract, conditional=condition is not None)

    def init(key: Key) -> Params:
        return nnx.to_pure_dict(nnx.state(make(nnx.Rngs(key)), nnx.Param))

    def evaluate(
        params: Params, x: Array, t: Array, given: dict[str, Any], key: Key | None, train: bool
    ) -> Array:
        draws = bool(jax.tree.leaves(streams)) or call.has("rngs")
        checks.require(not train or key is not None or not draws, NEEDS_KEY)
        if call.has("train"):
            given["train"] = train
        if call.has("rngs") and train:
            given["rngs"] = nnx.Rngs(key)
        state = jax.tree.map(lambda leaf: leaf, template)
        nnx.replace_by_pure_dict(state, params)
        network: Any = nnx.merge(graph, state, _seeded(streams, key))
        network.train() if train else network.eval()
        return jnp.asarray(network(x, t, **given))

    return network_of_call(call, condition, labels, init, evaluate)


def _called(make: Callable[..., Any]) -> Callable[[nnx.Rngs], Any]:
    """A function of random streams, which ``make`` takes by position or by name."""
    # A metaclass of flax hides the arguments of a class from its signature.
    function = make.__init__ if isinstance(make, type) else make
    argument = inspect.signature(function).parameters.get("rngs")
    if argument is not None and argument.kind is argument.KEYWORD_ONLY:
        return lambda rngs: make(rngs=rngs)
    return lambda rngs: make(rngs)


def _check_no(others: Any) -> None:
    """Check that a module has no variables besides parameters and random streams."""
    variables = jax.tree.leaves(others, is_leaf=lambda node: isinstance(node, nnx.Variable))
    names = ", ".join(sorted({type(one).__name__ for one in variables}))
    checks.require(
        not variables,
        f"a score network may only have parameters (nnx.Param), this module also has {names}: "
        "normalise without running statistics, by nnx.GroupNorm or nnx.LayerNorm",
    )


def _seeded(streams: Any, key: Key | None) -> Any:
    """The random streams of a module, all from one key."""
    root = jax.random.key(0) if key is None else key
    leaves, structure = jax.tree.flatten(streams)

    def fresh(number: int, leaf: Any) -> Array:
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jnp.zeros(leaf.shape, leaf.dtype)
        own = jax.random.fold_in(root, number)
        return jax.random.split(own, leaf.shape) if leaf.shape else own

    return jax.tree.unflatten(structure, [fresh(*pair) for pair in enumerate(leaves)])
