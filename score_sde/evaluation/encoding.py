"""Latents of examples, and examples of latents, by the probability-flow ODE: in
batches, over all local devices.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from score_sde.data import Scaling
from score_sde.evaluation.generation import AXIS, even_batch_size, over_devices
from score_sde.sampling import ProbabilityFlow, decode, encode
from score_sde.sdes.base import SDE, starting_at
from score_sde.typing import Key, Params, ScoreFn


class Encoded(NamedTuple):
    """Examples ``x`` in model units, as they were encoded, and their latents."""

    x: Float[Array | np.ndarray, "n *shape"]
    latent: Float[Array | np.ndarray, "n *shape"]


Encode = Callable[[Params, Array, Array], Encoded]
"""``(params, keys [b], raw examples [b, *shape]) ->`` the examples in model units and
their latents.
"""

Decode = Callable[[Params, Array], Array]
"""``(params, latents [b, *shape]) ->`` examples in model units."""


def make_encode(
    sde: SDE,
    score_fn_of: Callable[[Params], ScoreFn],
    scaling: Scaling,
    *,
    flow: ProbabilityFlow,
    t_min: float,
) -> Encode:
    """The compiled function from raw examples, taken to live at ``t_min``, to their
    latents at ``t_max``.

    Examples with levels are dequantised, as in training: in the middle of their levels
    all those that look alike would have one latent, and one nearer to zero than the
    prior's are.
    """
    sde = starting_at(sde, t_min)

    def encode_batch(params: Params, keys: Array, examples: Array) -> Encoded:
        score_fn = score_fn_of(params)

        def one(key: Key, example: Array) -> Encoded:
            x = scaling.to_model(key, example)
            return Encoded(x, encode(sde, score_fn, x, sampler=flow))

        return jax.vmap(one, axis_name=AXIS)(keys, examples)

    return jax.jit(encode_batch)


def make_decode(
    sde: SDE, score_fn_of: Callable[[Params], ScoreFn], *, flow: ProbabilityFlow, t_min: float
) -> Decode:
    """The compiled function from latents to examples at ``t_min``, the inverse of the
    encoding with the same flow.
    """
    sde = starting_at(sde, t_min)

    def decode_batch(params: Params, latents: Array) -> Array:
        score_fn = score_fn_of(params)
        return jax.vmap(lambda latent: decode(sde, score_fn, latent, sampler=flow), axis_name=AXIS)(
            latents
        )

    return jax.jit(decode_batch)


def in_batches(
    function: Callable[..., Any],
    params: Params,
    arrays: Sequence[Array | np.ndarray],
    batch_size: int,
) -> Iterator[Any]:
    """What ``function(params, *rows)`` makes of the rows of equally long arrays, a
    batch at a time, as NumPy arrays.

    All batches are of one shape, at most ``batch_size``: the last is filled up with the
    last row, and cut again.
    """
    total = len(arrays[0])
    size = even_batch_size(total, batch_size)
    for start in range(0, total, size):
        rows = np.minimum(np.arange(start, start + size), total - 1)
        batch = (over_devices(jax.numpy.asarray(array[rows])) for array in arrays)
        found = jax.device_get(function(params, *batch))
        yield jax.tree.map(lambda leaf: leaf[: total - start], found)  # noqa: B023 - called before the next turn
