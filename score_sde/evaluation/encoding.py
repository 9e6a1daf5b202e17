"""Latents of examples, and examples of latents, by the probability-flow ODE: in
batches, over all local devices.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from score_sde.evaluation.generation import AXIS, even_batch_size, index_keys, over_devices
from score_sde.evaluation.plots.latents import picture_of_latents
from score_sde.experiments.score_model import Model
from score_sde.runtime.progress import ProgressBar
from score_sde.sampling.latents import mean_square
from score_sde.typing import Key, Params


class Encoded(NamedTuple):
    """Examples ``x`` in model units, as they were encoded, and their latents."""

    x: Float[Array | np.ndarray, "n *shape"]
    latent: Float[Array | np.ndarray, "n *shape"]


Encode = Callable[[Params, Array, Array, Any], Encoded]
"""``(params, keys [b], raw examples [b, *shape], conditions) ->`` the examples in model
units and their latents; ``conditions`` are a pytree of arrays ``[b, ...]``, or None.
"""

Decode = Callable[[Params, Array, Any], Array]
"""``(params, latents [b, *shape], conditions) ->`` examples in model units."""


def make_encode(model: Model) -> Encode:
    """The compiled function from raw examples to their latents, as `Model.encode` finds
    them.

    Examples with levels are dequantised, as in training: in the middle of their levels
    all those that look alike would have one latent, and one nearer to zero than the
    prior's are.
    """

    def one(params: Params, key: Key, example: Array, condition: Any) -> Encoded:
        x = model.scaling.to_model(key, example)
        return Encoded(x, model.encode(params, x, condition))

    return jax.jit(jax.vmap(one, (None, 0, 0, 0), axis_name=AXIS))


def make_decode(model: Model) -> Decode:
    """The compiled function from latents to examples, as `Model.decode` finds them."""
    return jax.jit(jax.vmap(model.decode, (None, 0, 0), axis_name=AXIS))


def in_batches(
    function: Callable[..., Any],
    params: Params,
    arrays: Sequence[Any],
    batch_size: int,
) -> Iterator[Any]:
    """What ``function(params, *rows)`` makes of the rows of equally long arrays (or
    pytrees of them), a batch at a time, as NumPy arrays.

    All batches are of one shape, at most ``batch_size``: the last is filled up with the
    last row, and cut again.
    """
    total = len(arrays[0])
    size = even_batch_size(total, batch_size)
    for start in range(0, total, size):
        rows = np.minimum(np.arange(start, start + size), total - 1)
        batch = jax.tree.map(lambda array: over_devices(jax.numpy.asarray(array[rows])), arrays)  # noqa: B023 - called before the next turn
        found = jax.device_get(function(params, *batch))
        yield jax.tree.map(lambda leaf: leaf[: total - start], found)  # noqa: B023 - called before the next turn


def encoded(
    model: Model,
    key: Key,
    examples: Shaped[np.ndarray, "n *shape"],
    indices: Int[np.ndarray, " n"],
    conditions: Any = None,
) -> Encoded:
    """The examples, of the given indices in their split, and their latents.

    They are taken to live at ``eval.t_min``, and the ODE is solved to ``eval.rtol`` and
    ``eval.atol``, as in the likelihood.

    Raises:
        FloatingPointError: where a solve has not reached its end.
    """
    arrays = [index_keys(key, indices), examples, conditions]
    found = _with_bar("encode", make_encode(model), model, arrays)
    return Encoded(*(np.concatenate(field) for field in zip(*found, strict=True)))


def decoded(
    model: Model, latents: Float[np.ndarray, "n *shape"], conditions: Any = None
) -> Float[np.ndarray, "n *shape"]:
    """The examples of latents in model units, at ``eval.t_min``.

    Raises:
        FloatingPointError: where a solve has not reached its end.
    """
    return np.concatenate(_with_bar("decode", make_decode(model), model, [latents, conditions]))


def results(
    model: Model, found: Encoded, reconstruction: np.ndarray, folder: Path
) -> dict[str, str]:
    """How near the latents are to the prior, and the reconstructions to the examples;
    and a picture of all.
    """
    squares = np.asarray(jax.vmap(lambda latent: mean_square(model.sde, latent))(found.latent))
    error = np.sqrt(np.mean(np.square(reconstruction - np.asarray(found.x)), dtype=np.float64))
    size, unit = error, "in the units of the data"
    if model.scaling.num_levels is not None:
        size, unit = error / model.scaling.bin_width, "levels"
    elif model.scaling.standardized:
        unit = "standard deviations of the data"
    spread = squares.std(ddof=1) / np.sqrt(len(squares)) if len(squares) > 1 else np.nan
    rows = {
        "mean square of the latents": f"{squares.mean():.4f} ± {spread:.4f} (the prior's is 1)",
        "reconstruction error": f"{size:.2g} {unit}, root mean square",
    }
    path = folder / "latents.png"
    units = {"scaling": model.scaling, "prior_std": model.sde.prior_std()}
    picture = picture_of_latents(path, found, reconstruction, **units)
    return rows | ({} if picture is None else {"picture of latents": str(picture)})


def _with_bar(
    name: str, function: Callable[..., Any], model: Model, arrays: Sequence[Any]
) -> list[Any]:
    """What a function makes of all rows, a batch at a time."""
    found = []
    total, size = len(arrays[0]), model.evaluating.batch_size
    with ProgressBar(name, total, unit="examples") as bar:
        for batch in in_batches(function, model.params, arrays, size):
            leaves = jax.tree.leaves(batch)
            if not all(np.isfinite(leaf).all() for leaf in leaves):
                raise FloatingPointError(
                    "some results are not finite: the adaptive solve did not reach its end"
                )
            found.append(batch)
            bar.update(bar.done + len(leaves[0]))
    return found
