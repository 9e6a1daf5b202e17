"""Networks of two plain functions."""

import inspect
from collections.abc import Callable
from typing import Any

from jaxtyping import Array

from score_sde import checks
from score_sde.models.base import ScoreNetwork
from score_sde.typing import Key, Params

OPTIONS = ("condition", "present", "key", "train")
"""The keywords of `ScoreNetwork.apply`."""


def from_functions(init: Callable[[Key], Params], apply: Callable[..., Array]) -> ScoreNetwork:
    """A `ScoreNetwork` of ``init(key) -> params`` and ``apply(params, x, t) ->
    output``, with ``x`` and ``output`` ``[b, *shape]`` and the time labels ``t``
    ``[b]``.

    ``apply`` gets the keywords ``condition``, ``present``, ``key`` and ``train`` if it
    has them as arguments.

    >>> network = from_functions(lambda key: 2.0, lambda params, x, t: params * x)
    >>> network.apply(network.init(None), 3.0, 0.0)
    6.0

    Raises:
        ValueError: at ``apply``, there is a condition and no argument for it.
    """
    arguments = inspect.signature(apply).parameters
    takes_any = any(a.kind is a.VAR_KEYWORD for a in arguments.values())
    names = frozenset(OPTIONS if takes_any else arguments) & frozenset(OPTIONS)

    def adapted(params: Params, x: Array, t: Array, **given: Any) -> Array:
        for name in ("condition", "present"):
            checks.require(
                given.get(name) is None or name in names,
                f"the function apply of this network has no argument {name!r}: "
                "apply(params, x, t, *, condition=None, present=None)",
            )
        return apply(params, x, t, **{name: given[name] for name in names if name in given})

    return ScoreNetwork(init, adapted)
