"""Figures of latents: examples beside their latents and reconstructions, and
interpolation paths.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from score_sde.data import Examples, Scaling
from score_sde.evaluation.plots.figure import BLUE, COLOURS, GREEN, ORANGE, PALE, PURPLE, new_figure
from score_sde.evaluation.plots.images import image_grid, save_png
from score_sde.evaluation.plots.points import panel_height, set_style, square_about
from score_sde.evaluation.plots.samples import is_image, model_points

COLUMNS = 12
"""The number of images in a figure of latents."""

LATENTS = "latents / prior standard deviation"
"""The title of a panel in units of the prior."""

POINTS = 4000
"""The number of points in a panel."""

DIRECTIONS = (BLUE, GREEN, ORANGE, PURPLE, BLUE)
"""The colours of the directions from the mean of the data, once around from the left."""

PanelFn = Callable[[Any], object]
"""A function that draws on the axes of a panel."""


def latents_to_unit(
    latents: Float[np.ndarray, "*shape"], prior_std: float
) -> Float[np.ndarray, "*shape"]:
    """Latents for display: three standard deviations of the prior about 0 become ``[0,
    1]``; the rest is clipped.
    """
    return np.clip(0.5 + latents / (6.0 * prior_std), 0.0, 1.0)


def figure_of_latents(
    path: Path,
    examples_and_latents: tuple[
        Float[Array | np.ndarray, "n *shape"], Float[Array | np.ndarray, "n *shape"]
    ],
    reconstruction: Float[np.ndarray, "n *shape"],
    *,
    scaling: Scaling,
    prior_std: float,
) -> Path | None:
    """Write examples, latents and reconstructions: three rows of images, or three
    panels of points.

    The colour of a point, the same in all panels, is its direction from the mean of the
    data. Returns None for other kinds of data.
    """
    x, latent = (np.asarray(values) for values in examples_and_latents)
    if is_image(x.shape[1:], scaling):
        rows = (
            np.asarray(scaling.to_unit(x)),
            latents_to_unit(latent, prior_std),
            scaling.to_unit(reconstruction),
        )
        columns = min(COLUMNS, len(x))
        save_png(
            path,
            image_grid(
                np.concatenate([row[:columns] for row in rows]), num_columns=columns, width=900
            ),
        )
        return path
    if x.shape[1:] != (2,):
        return None
    from matplotlib.colors import LinearSegmentedColormap

    offset = x - x.mean(axis=0)
    colours = np.arctan2(offset[:, 1], offset[:, 0])[:POINTS]
    circle = LinearSegmentedColormap.from_list("directions", DIRECTIONS)

    def scattered(points: Float[np.ndarray, "n 2"]) -> PanelFn:
        return lambda axis: axis.scatter(
            *points[:POINTS].T, s=5, c=colours, cmap=circle, vmin=-np.pi, vmax=np.pi, linewidths=0
        )

    panels = {"data": x, LATENTS: latent / prior_std, "reconstructions": reconstruction}
    _save_panels(
        path, {title: (points, scattered(points)) for title, points in panels.items()}, scaling
    )
    return path


def figure_of_interpolation(
    path: Path,
    originals: Float[np.ndarray, "pairs 2 *shape"],
    decoded: Float[np.ndarray, "pairs steps *shape"],
    latents: Float[np.ndarray, "pairs steps *shape"],
    data: Examples,
    *,
    scaling: Scaling,
    prior_std: float,
) -> Path | None:
    """Write a row of images for each pair, or lines among the data and among the
    latents.

    A row begins and ends with the originals and has decoded steps between them. Returns
    None for other kinds of data.
    """
    if is_image(decoded.shape[2:], scaling):
        row = np.concatenate([originals[:, :1], decoded[:, 1:-1], originals[:, 1:]], axis=1)
        images = np.asarray(scaling.to_unit(row.reshape(-1, *row.shape[2:])))
        save_png(path, image_grid(images, num_columns=row.shape[1], width=900))
        return path
    if decoded.shape[2:] != (2,):
        return None
    points_of_data = model_points(data, scaling)

    def lines(
        points: Float[np.ndarray, "pairs steps 2"],
        ends: Float[np.ndarray, "pairs 2 2"],
        behind: bool,
    ) -> PanelFn:
        def draw(axis: Any) -> None:
            if behind:
                axis.scatter(*points_of_data[:POINTS].T, s=2, color=PALE, linewidths=0)
            for number, (line, end) in enumerate(zip(points, ends, strict=True)):
                colour = COLOURS[number % len(COLOURS)]
                axis.plot(*line.T, color=colour, linewidth=1.2, marker=".", markersize=4)
                axis.scatter(*end.T, s=30, facecolors="none", edgecolors=colour, linewidths=1.2)

        return draw

    scaled = latents / prior_std
    around = np.concatenate([points_of_data, decoded.reshape(-1, 2)])
    panels = {
        LATENTS: (scaled.reshape(-1, 2), lines(scaled, scaled[:, [0, -1]], behind=False)),
        "decoded, among the data": (around, lines(decoded, originals, behind=True)),
    }
    _save_panels(path, panels, scaling)
    return path


def _save_panels(
    path: Path, panels: dict[str, tuple[Float[np.ndarray, "n 2"], PanelFn]], scaling: Scaling
) -> None:
    """Write panels side by side, each with the axes of its points; all but the latents
    are labelled in data units.
    """
    with new_figure(path, height=panel_height(len(panels))) as figure:
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axis, (title, (points, draw)) in zip(axes, panels.items(), strict=True):
            draw(axis)
            set_style(
                axis,
                square_about(np.asarray(points, np.float64)),
                None if title == LATENTS else scaling,
            )
            axis.set_title(title)
        axes[0].set_ylabel("$x_2$")
