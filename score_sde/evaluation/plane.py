"""The figure of a score model of points in the plane, with its exact density on a grid."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from score_sde.data import Examples, Scaling
from score_sde.divergence import ExactTrace
from score_sde.evaluation.encoding import in_batches
from score_sde.evaluation.plots.points import plot_model, square_about
from score_sde.evaluation.plots.samples import model_points
from score_sde.experiments.score_model import Model
from score_sde.typing import Params

GRID = 64
"""The number of rows, and of columns, of the grid."""

TOLERANCE = 1e-3
"""The tolerances of the probability flow: the error of log densities is about 0.01
nats, and 0.3 nats at most."""


def is_plane(model: Model) -> bool:
    """Whether the examples of a model are points in the plane."""
    return model.shape == (2,) and model.scaling.num_levels is None


def figure_of_plane(
    path: Path,
    model: Model,
    samples: Float[Array | np.ndarray, "n 2"],
    frames: Float[np.ndarray, "frames k 2"],
    data: Examples,
) -> dict[str, str]:
    """Write data, samples, trajectories and log density; returns rows of the report.

    ``samples``, and ``frames``, the states of some from noise on, are in model units,
    ``data`` raw examples. A conditional model has a density for each condition, and none
    is shown.
    """
    points = model_points(data, model.scaling)
    box = square_about(points.astype(np.float64))
    values = None if model.condition is not None else log_density(model, box)
    paths, scaling = np.moveaxis(frames, 0, 1), model.scaling
    plot_model(path, samples, points, paths, log_density=values, scaling=scaling)
    rows = {"figure": str(path)}
    if values is not None:
        rows["density"] = (
            f"integrates to {mass(values, box, scaling):.3f} over the axes of the figure, from "
            f"{GRID} x {GRID} exact log-likelihoods"
        )
    return rows


def log_density(model: Model, box: Float[np.ndarray, "2 2"]) -> Float[np.ndarray, "grid grid"]:
    """The exact log density in data units, in nats, by the probability flow.

    It is evaluated at the middles of equal squares of ``box``, ``[[low, high], [low,
    high]]`` in model units; the first axis of the result is ``x_1``.
    """
    options = {"divergence": ExactTrace(), "bound": None, "check_tolerance": False}
    evaluating = replace(model.evaluating, rtol=TOLERANCE, atol=TOLERANCE, **options)
    unused = jax.random.key(0)  # the exact trace draws nothing
    exact = replace(model, evaluating=evaluating)

    def one(params: Params, x: Array) -> Any:
        return exact.log_likelihood(params, unused, x).log_prob

    middles = (np.arange(GRID) + 0.5) / GRID
    axes = [low + middles * (high - low) for low, high in box]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    x = np.asarray(model.scaling.to_data(points.astype(np.float32)))
    found = in_batches(jax.jit(jax.vmap(one, (None, 0))), model.params, [x], len(x))
    return np.concatenate(list(found)).reshape(GRID, GRID)


def mass(
    log_density: Float[np.ndarray, "grid grid"], box: Float[np.ndarray, "2 2"], scaling: Scaling
) -> float:
    """The integral of the density over ``box``, by the midpoint rule."""
    log_square = np.log(np.diff(box, axis=1) / GRID).sum() - float(scaling.log_det((2,)))
    return float(np.exp(log_density.astype(np.float64) + log_square).sum())
