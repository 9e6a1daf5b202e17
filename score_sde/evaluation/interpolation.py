"""Interpolation between examples through the latent space: the paths, their file and
figure.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from score_sde.data import Examples
from score_sde.evaluation.encoding import decoded, encoded
from score_sde.evaluation.plots.latents import figure_of_interpolation
from score_sde.experiments.score_model import Model
from score_sde.runtime.atomic_files import write_arrays
from score_sde.sampling.latents import slerp, with_temperature
from score_sde.typing import Key


class InterpolationPaths(NamedTuple):
    """Interpolation paths between pairs of examples, in model units.

    Attributes:
        pairs: the indices of the examples.
        ends: the examples.
        weights: the weight of the second example at each step.
        latents: the latents of the steps.
        x: the decoded steps.
        temperature: the factor of the latents.
    """

    pairs: Int[np.ndarray, "pairs 2"]
    ends: Float[np.ndarray, "pairs 2 *shape"]
    weights: Float[np.ndarray, " steps"]
    latents: Float[np.ndarray, "pairs steps *shape"]
    x: Float[np.ndarray, "pairs steps *shape"]
    temperature: float

    @property
    def summary(self) -> str:
        """The numbers of pairs and steps, and the temperature."""
        numbers = f"{len(self.pairs)} pairs, {len(self.weights)} steps each"
        return f"{numbers}, temperature {self.temperature:g}"


def interpolation_paths(
    model: Model,
    key: Key,
    data: Examples,
    pairs: Int[np.ndarray, "pairs 2"],
    *,
    num_steps: int,
    temperature: float,
    conditions: Any = None,
) -> InterpolationPaths:
    """Spherical interpolation between the latents of pairs of examples, scaled by the
    temperature, and decoded.

    With ``conditions`` of all data, a step is decoded with the condition of the nearer
    end (the first in the middle), so that both ends decode to the encoded examples.

    Raises:
        FloatingPointError: a solve has not reached its end.
    """
    indices = pairs.ravel()
    ends_of = jax.tree.map(lambda values: values[indices], conditions)
    found = encoded(model, key, np.asarray(data[indices]), indices, ends_of)
    shape = (len(pairs), 2, *model.shape)
    weights = np.linspace(0.0, 1.0, num_steps, dtype=np.float32)

    def path(pair: Array) -> Array:
        return jax.vmap(
            lambda weight: with_temperature(slerp(pair[0], pair[1], weight), temperature)
        )(weights)

    latents = np.asarray(jax.jit(jax.vmap(path))(np.asarray(found.latent).reshape(shape)))
    nearer = pairs[:, (weights > 0.5).astype(int)].ravel()
    along = jax.tree.map(lambda values: values[nearer], conditions)
    x = decoded(model, latents.reshape(-1, *model.shape), along).reshape(latents.shape)
    ends = np.asarray(found.x).reshape(shape)
    return InterpolationPaths(pairs, ends, weights, latents, x, temperature)


def results(
    model: Model, found: InterpolationPaths, data: Examples, folder: Path
) -> dict[str, str]:
    """Write the file and the figure of the paths; points are shown among the ``data``."""
    path = folder / "interpolation.npz"
    levels = np.asarray(model.scaling.to_data(found.x))
    write_arrays(path, index=found.pairs, weight=found.weights, latent=found.latents, levels=levels)
    shown = found.ends, found.x, found.latents, data
    figure = figure_of_interpolation(
        folder / "interpolation.png", *shown, scaling=model.scaling, prior_std=model.sde.prior_std()
    )
    rows = {"interpolated": str(path)}
    return rows | ({} if figure is None else {"figure of interpolation": str(figure)})
