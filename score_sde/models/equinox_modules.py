"""Networks written in equinox."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from score_sde import checks
from score_sde.models.base import ScoreNetwork, network_of_call
from score_sde.models.calls import NEEDS_KEY, Call
from score_sde.models.conditions import Condition
from score_sde.models.labels import TimeLabels
from score_sde.typing import Key, Params


def from_equinox(
    module: eqx.Module | Callable[[Key], eqx.Module],
    *,
    labels: TimeLabels | None = None,
    condition: Condition | None = None,
) -> ScoreNetwork:
    """Make a `ScoreNetwork` of an equinox module: ``from_equinox(lambda key:
    Net(key=key))``.

    The module takes ONE sample, as usual in equinox: it is called under ``jax.vmap`` as
    ``module(x, t)`` with ``x [*shape]`` and a scalar ``t``, and with the keywords
    ``condition``, ``present`` and ``key`` if its ``__call__`` has them as arguments.
    Dropout is on in training alone (``eqx.nn.inference_mode``), and each sample of a
    batch has its own ``key``.

    >>> import equinox as eqx, jax, score_sde as ss
    >>> class Scale(eqx.Module):
    ...     weight: jax.Array
    ...     def __call__(self, x, t):
    ...         return t * self.weight * x
    >>> network = ss.from_equinox(lambda key: Scale(jax.numpy.ones(2)))
    >>> network.init(jax.random.key(0)).weight
    Array([1., 1.], dtype=float32...)

    Args:
        module: a function ``key -> module``, for new parameters at each ``init(key)``;
            or a module, such as a trained one, whose parameters every ``init`` returns.
        labels: the valid time labels; None for any number.
        condition: the form of its condition.

    Returns:
        The network. Its parameters are ``eqx.filter(module, eqx.is_inexact_array)``:
        the module with None for everything but floating-point arrays. The rest (whole
        numbers, functions) is the same for every key.

    Raises:
        ValueError: the module has a state (``eqx.nn.State``), such as
            ``eqx.nn.BatchNorm``'s, or no argument for the condition; at ``apply``, it
            takes a key in training and there is none.
    """
    is_module = isinstance(module, eqx.Module) and not isinstance(module, type)
    make: Callable[[Key], Any] = (lambda key: module) if is_module else module  # pyright: ignore[reportAssignmentType]
    one = make(jax.random.key(0))
    _check(one)
    static = eqx.partition(one, eqx.is_inexact_array)[1]
    call = Call.of(one, conditional=condition is not None)

    def init(key: Key) -> Params:
        return eqx.filter(make(key), eqx.is_inexact_array)

    def evaluate(
        params: Params, x: Array, t: Array, given: dict[str, Any], key: Key | None, train: bool
    ) -> Array:
        if train and call.has("key"):
            if key is None:
                raise ValueError(NEEDS_KEY)
            # A batch of one keeps its key: each sample of make_score_fn has its own.
            given["key"] = key[None] if len(x) == 1 else jax.random.split(key, len(x))
        network = eqx.nn.inference_mode(eqx.combine(params, static), value=not train)
        return jax.vmap(lambda x, t, given: jnp.asarray(network(x, t, **given)))(x, t, given)

    return network_of_call(call, condition, labels, init, evaluate)


def _check(module: Any) -> None:
    """Check that this is a module without a state."""
    checks.require(
        isinstance(module, eqx.Module) and callable(module),
        "from_equinox takes a module, or a function key -> module, that can be called as "
        f"module(x, t), got {type(module).__name__}",
    )
    nodes = jax.tree.leaves(module, is_leaf=lambda node: isinstance(node, eqx.nn.StateIndex))
    checks.require(
        not any(isinstance(node, eqx.nn.StateIndex) for node in nodes),
        "a score network may have no state (eqx.nn.State), such as eqx.nn.BatchNorm's: normalise "
        "without running statistics, by eqx.nn.GroupNorm or eqx.nn.LayerNorm",
    )
