"""From one example to another through the latent space: the ways, in one file, and
their picture.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from score_sde.data import Examples
from score_sde.evaluation.encoding import decoded, encoded
from score_sde.evaluation.plots.latents import picture_of_interpolation
from score_sde.experiments.score_model import Model
from score_sde.runtime.atomic_files import write_arrays
from score_sde.sampling.latents import slerp, with_temperature
from score_sde.typing import Key


class Ways(NamedTuple):
    """The ways between pairs of examples.

    ``pairs``: the indices of the examples. ``ends``: the examples themselves.
    ``weights``: of the second example at each step. ``latents`` and ``x``: the steps,
    and what is decoded from them. All but ``weights`` in model units. ``temperature``:
    the factor of the latents.
    """

    pairs: Int[np.ndarray, "pairs 2"]
    ends: Float[np.ndarray, "pairs 2 *shape"]
    weights: Float[np.ndarray, " steps"]
    latents: Float[np.ndarray, "pairs steps *shape"]
    x: Float[np.ndarray, "pairs steps *shape"]
    temperature: float

    @property
    def summary(self) -> str:
        """How many, in words."""
        numbers = f"{len(self.pairs)} pairs, {len(self.weights)} steps each"
        return f"{numbers}, temperature {self.temperature:g}"


def ways_of(
    model: Model,
    key: Key,
    data: Examples,
    pairs: Int[np.ndarray, "pairs 2"],
    *,
    num_steps: int,
    temperature: float,
    conditions: Any = None,
) -> Ways:
    """The ways between the latents of pairs of examples: spherical interpolation,
    scaled by the temperature, and decoded.

    With ``conditions`` of all data, a step is decoded with the condition of the nearer
    end, the first in the middle: so both ends are what was encoded.

    Raises:
        FloatingPointError: where a solve has not reached its end.
    """
    indices = pairs.ravel()
    ends_of = jax.tree.map(lambda values: values[indices], conditions)
    found = encoded(model, key, np.asarray(data[indices]), indices, ends_of)
    shape = (len(pairs), 2, *model.shape)
    weights = np.linspace(0.0, 1.0, num_steps, dtype=np.float32)

    def way(pair: Array) -> Array:
        return jax.vmap(
            lambda weight: with_temperature(slerp(pair[0], pair[1], weight), temperature)
        )(weights)

    latents = np.asarray(jax.jit(jax.vmap(way))(np.asarray(found.latent).reshape(shape)))
    nearer = pairs[:, (weights > 0.5).astype(int)].ravel()
    along = jax.tree.map(lambda values: values[nearer], conditions)
    x = decoded(model, latents.reshape(-1, *model.shape), along).reshape(latents.shape)
    ends = np.asarray(found.x).reshape(shape)
    return Ways(pairs, ends, weights, latents, x, temperature)


def results(model: Model, ways: Ways, data: Examples, folder: Path) -> dict[str, str]:
    """Save the ways, draw them, and say where they are; points are drawn among the ``data``."""
    path = folder / "interpolation.npz"
    levels = np.asarray(model.scaling.to_data(ways.x))
    write_arrays(path, index=ways.pairs, weight=ways.weights, latent=ways.latents, levels=levels)
    shown = ways.ends, ways.x, ways.latents, data
    picture = picture_of_interpolation(
        folder / "interpolation.png", *shown, scaling=model.scaling, prior_std=model.sde.prior_std()
    )
    rows = {"interpolated": str(path)}
    return rows | ({} if picture is None else {"picture of interpolation": str(picture)})
