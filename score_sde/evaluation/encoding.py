"""Many examples encoded to latents, and decoded again, by the probability-flow ODE."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from score_sde.evaluation.generation import (
    AXIS,
    SOLVE_FAILED,
    check_finite,
    even_batch_size,
    index_keys,
    over_devices,
)
from score_sde.evaluation.plots.latents import figure_of_latents
from score_sde.experiments.score_model import Model
from score_sde.runtime.progress import ProgressBar
from score_sde.sampling.latents import mean_square
from score_sde.typing import Key, Params


class Encoded(NamedTuple):
    """Examples ``x``, dequantised and in model units, and their latents."""

    x: Float[Array | np.ndarray, "n *shape"]
    latent: Float[Array | np.ndarray, "n *shape"]


Encode = Callable[[Params, Array, Array, Any], Encoded]
"""``(params, keys [b], raw examples [b, *shape], conditions) ->`` the examples in model
units and their latents; ``conditions`` are a pytree of arrays ``[b, ...]``, or None.
"""

Decode = Callable[[Params, Array, Any], Array]
"""``(params, latents [b, *shape], conditions) ->`` examples in model units."""


def make_encode(model: Model) -> Encode:
    """The compiled `Model.encode` of a batch of raw examples.

    Examples with levels are dequantised, as in training: at the middles of their bins
    their latents would be too close to zero for the prior.
    """

    def one(params: Params, key: Key, example: Array, condition: Any) -> Encoded:
        x = model.scaling.to_model(key, example)
        return Encoded(x, model.encode(params, x, condition))

    return jax.jit(jax.vmap(one, (None, 0, 0, 0), axis_name=AXIS))


def make_decode(model: Model) -> Decode:
    """The compiled `Model.decode` of a batch of latents."""
    return jax.jit(jax.vmap(model.decode, (None, 0, 0), axis_name=AXIS))


def in_batches(
    function: Callable[..., Any],
    params: Params,
    arrays: Sequence[Any],
    batch_size: int,
) -> Iterator[Any]:
    """``function(params, *rows)`` of the rows of equally long arrays, or pytrees of
    arrays, a batch at a time, as NumPy arrays.

    All batches have one shape, of at most ``batch_size`` rows: the last batch is padded
    with its last row, and its result cut to length.
    """
    total = len(arrays[0])
    size = even_batch_size(total, batch_size)
    for start in range(0, total, size):
        rows = np.minimum(np.arange(start, start + size), total - 1)
        batch = jax.tree.map(lambda array: over_devices(_rows(array, rows)), arrays)  # noqa: B023 - called within this iteration
        found = jax.device_get(function(params, *batch))
        yield jax.tree.map(lambda leaf: leaf[: total - start], found)  # noqa: B023 - called within this iteration


def _rows(array: Any, rows: Int[np.ndarray, " b"]) -> Any:
    # One program for random keys, which are on a device.
    return _gathered(array, rows) if isinstance(array, jax.Array) else array[rows]


@jax.jit
def _gathered(array: Array, rows: Int[Array, " b"]) -> Array:
    return array[rows]


def encoded(
    model: Model,
    key: Key,
    examples: Shaped[np.ndarray, "n *shape"],
    indices: Int[np.ndarray, " n"],
    conditions: Any = None,
) -> Encoded:
    """Encode examples, given their indices in their split, with a progress bar.

    The ODE starts at ``eval.t_min`` and is solved to ``eval.rtol`` and ``eval.atol``,
    as for the likelihood.

    Raises:
        FloatingPointError: a solve has not reached its end.
    """
    arrays = [index_keys(key, indices), examples, conditions]
    found = _with_bar("encode", make_encode(model), model, arrays)
    return Encoded(*(np.concatenate(field) for field in zip(*found, strict=True)))


def decoded(
    model: Model, latents: Float[np.ndarray, "n *shape"], conditions: Any = None
) -> Float[np.ndarray, "n *shape"]:
    """Decode latents to examples in model units, with a progress bar.

    Raises:
        FloatingPointError: a solve has not reached its end.
    """
    return np.concatenate(_with_bar("decode", make_decode(model), model, [latents, conditions]))


def results(
    model: Model, found: Encoded, reconstruction: np.ndarray, folder: Path
) -> dict[str, str]:
    """The rows of the report: the mean square of the latents, the reconstruction error,
    and a figure of both.
    """
    squares = np.asarray(jax.jit(jax.vmap(partial(mean_square, model.sde)))(found.latent))
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
    figure = figure_of_latents(path, found, reconstruction, **units)
    return rows | ({} if figure is None else {"figure of latents": str(figure)})


def _with_bar(
    name: str, function: Callable[..., Any], model: Model, arrays: Sequence[Any]
) -> list[Any]:
    """The results of a function of all rows, a batch at a time."""
    found = []
    total, size = len(arrays[0]), model.evaluating.batch_size
    with ProgressBar(name, total, unit="examples") as bar:
        for batch in in_batches(function, model.params, arrays, size):
            check_finite("results", batch, SOLVE_FAILED)
            found.append(batch)
            bar.update(bar.done + len(jax.tree.leaves(batch)[0]))
    return found
