"""Figures of samples: grids, strips and animations of images, scatter plots of points."""

from pathlib import Path

import jax
import numpy as np
from jaxtyping import Array, Float

from score_sde.data import Examples, Scaling
from score_sde.evaluation.plots.images import (
    denoising_strip,
    frames_to_unit,
    image_grid,
    save_gif,
    save_png,
)
from score_sde.evaluation.plots.points import plot_samples

MAX_POINTS = 100_000
"""The largest number of data points read for a figure."""


def is_image(shape: tuple[int, ...], scaling: Scaling) -> bool:
    """Whether examples of ``shape`` are images: with levels, and one or three channels."""
    return scaling.num_levels is not None and len(shape) == 3 and shape[-1] in (1, 3)


def figure_of_samples(
    folder: Path,
    name: str,
    samples: Float[Array | np.ndarray, "n *shape"],
    data: Examples | None,
    scaling: Scaling,
    *,
    num_columns: int | None = None,
) -> Path | None:
    """Write ``name.png``: a grid of images, or points beside the data; None for other
    kinds of data.

    Args:
        folder: the folder of the figure; made if missing.
        name: the name of the figure.
        samples: in model units.
        data: raw examples ``[m, *shape]`` to compare points with, of which the first
            ``MAX_POINTS`` are shown; without them there is no figure of points.
        scaling: the map from data to model units.
        num_columns: images in a row; None for a grid as square as possible.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    if is_image(samples.shape[1:], scaling):
        save_png(
            path, image_grid(np.asarray(scaling.to_unit(samples[:100])), num_columns=num_columns)
        )
    elif samples.shape[1:] == (2,) and data is not None:
        plot_samples(path, samples, model_points(data, scaling), scaling=scaling)
    else:
        return None
    return path


def model_points(data: Examples, scaling: Scaling) -> Float[np.ndarray, "m *shape"]:
    """The first ``MAX_POINTS`` of continuous raw examples in model units."""
    return np.asarray(scaling.to_model(jax.random.key(0), np.asarray(data[:MAX_POINTS])))


def figures_of_denoising(
    folder: Path,
    frames: Float[np.ndarray, "k n h w c"],
    scaling: Scaling,
    *,
    rows: int = 8,
    columns: int = 12,
) -> dict[str, Path]:
    """Write denoising as a strip, ``denoising.png``, and an animation,
    ``denoising.gif``.

    ``frames`` are states in model units, the latent first.
    """
    unit = frames_to_unit(frames, centered=scaling.centered)
    # Denser towards the data: most of the path looks like noise.
    back = np.square(np.linspace(1.0, 0.0, min(columns, len(unit))))
    chosen = np.unique(np.rint((len(unit) - 1) * (1.0 - back)).astype(int))
    strip, animation = folder / "denoising.png", folder / "denoising.gif"
    save_png(strip, denoising_strip(unit[chosen][:, :rows]))
    save_gif(animation, unit)
    return {"denoising": strip, "animation": animation}
