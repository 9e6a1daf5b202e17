"""Two-dimensional samples against data, and the score that made them."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float, Float64

from score_sde import checks
from score_sde.data import Scaling
from score_sde.evaluation.plots.figure import INK, VERMILION, frame_thinly, save_figure
from score_sde.runtime.atomic_files import PathLike
from score_sde.typing import ScoreFn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 160
_ARROWS = 21


def plot_samples(
    path: PathLike,
    samples: Float[ArrayLike, "n 2"],
    data: Float[ArrayLike, "m 2"],
    *,
    score_fn: ScoreFn | None = None,
    t: float = 0.1,
    max_points: int = 4000,
    scaling: Scaling | None = None,
) -> None:
    """Write data and samples side by side on the same axes: points, over their density
    as shading.

    With a ``score_fn``, a third panel shows the score at time ``t`` over the density of
    the samples, as arrows whose length is the square root of its norm. The axes span
    the data; the panel states the fraction of samples outside.

    ::

        plot_samples("samples.png", samples, data, score_fn=model.score_fn)

    Args:
        path: the figure to write.
        samples: the samples, in model units.
        data: held-out data, in model units.
        score_fn: the learned score; None for two panels.
        t: the time of the score.
        max_points: points drawn in a panel; the shading counts all of them.
        scaling: from data to model units, for axes labelled in data units.

    Raises:
        ValueError: no data, or data that are not finite.
    """
    from matplotlib.figure import Figure

    drawn, given = np.asarray(samples, np.float64), np.asarray(data, np.float64)
    checks.require(
        len(given) and np.isfinite(given).all(),
        "the data to compare with must be one or more finite points",
    )
    box = square_about(given)
    panels = {"data": given, "samples": drawn}
    figure = Figure(
        figsize=(3.0 * (len(panels) + (score_fn is not None)) + 0.3, 3.6), layout="constrained"
    )
    axes = figure.subplots(
        1, len(panels) + (score_fn is not None), sharex=True, sharey=True, squeeze=False
    )[0]
    for axis, (title, points) in zip(axes, panels.items(), strict=False):
        _draw_points(axis, points, box, max_points)
        axis.set_title(title, fontsize=10, color=INK)
    if score_fn is not None:
        _draw_shading(axes[-1], drawn, box)
        _draw_score(axes[-1], score_fn, t, box)
        axes[-1].set_title(rf"score $s_\theta(x, t)$ at $t={t:g}$", fontsize=10, color=INK)
    for axis in axes:
        set_style(axis, box, scaling)
    axes[0].set_ylabel("$x_2$", color=INK)
    save_figure(path, figure)


def smoothed_histogram(
    points: Float64[np.ndarray, "n 2"],
    box: Float64[np.ndarray, "2 2"],
    *,
    bins: int = _BINS,
    bandwidth: float = 2.0,
) -> Float64[np.ndarray, "bins bins"]:
    """Fraction of the points in each bin of a square ``[[low, high], [low, high]]``,
    the first axis being ``x_1``; blurred by a Gaussian with a standard deviation of
    ``bandwidth`` bins.
    """
    counts = np.histogram2d(*points.T, bins=bins, range=box)[0] / max(len(points), 1)
    offset = np.arange(bins)[:, None] - np.arange(bins)
    kernel = np.exp(-0.5 * (offset / bandwidth) ** 2)
    kernel /= kernel.sum(axis=0)
    return kernel @ counts @ kernel.T


def square_about(data: Float64[np.ndarray, "m 2"]) -> Float64[np.ndarray, "2 2"]:
    """The smallest square about the data, with a margin."""
    low, high = data.min(axis=0), data.max(axis=0)
    half = 0.56 * max(float((high - low).max()), 1e-6)
    centre = 0.5 * (low + high)
    return np.stack([centre - half, centre + half], axis=1)


def _draw_points(
    axis: "Axes",
    points: Float64[np.ndarray, "n 2"],
    box: Float64[np.ndarray, "2 2"],
    max_points: int,
) -> None:
    """Shading, points, and the fraction of points outside the axes."""
    _draw_shading(axis, points, box)
    axis.scatter(
        *points[:max_points].T, s=1.2, color="#08306b", alpha=0.35, linewidths=0, rasterized=True
    )
    inside = ((points >= box[:, 0]) & (points <= box[:, 1])).all(axis=1)
    if not inside.all():
        axis.text(
            0.98,
            0.02,
            f"{(~inside).mean():.1%} outside",
            transform=axis.transAxes,
            ha="right",
            fontsize=7,
        )


def _draw_shading(
    axis: "Axes", points: Float64[np.ndarray, "n 2"], box: Float64[np.ndarray, "2 2"]
) -> None:
    """The blurred density, from white to blue."""
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list("density", ["#ffffff", "#9ecae1", "#2171b5"])
    shade = np.sqrt(smoothed_histogram(points[np.isfinite(points).all(axis=1)], box))
    axis.imshow(
        shade.T,
        origin="lower",
        extent=tuple(box.ravel()),
        cmap=shades,
        vmax=1.6 * shade.max() + 1e-12,
    )


def _draw_score(axis: "Axes", score_fn: ScoreFn, t: float, box: Float64[np.ndarray, "2 2"]) -> None:
    """Arrows on a grid."""
    ticks = np.linspace(0.03, 0.97, _ARROWS)
    grid = np.stack(
        np.meshgrid(*(low + ticks * (high - low) for low, high in box)), axis=-1
    ).reshape(-1, 2)
    score = jax.jit(jax.vmap(lambda x: score_fn(x, t)))(jnp.asarray(grid, jnp.result_type(float)))
    field = np.asarray(score, np.float64)
    field /= np.sqrt(np.linalg.norm(field, axis=1, keepdims=True)) + 1e-12
    longest = np.linalg.norm(field, axis=1).max() + 1e-12
    spacing = (box[0, 1] - box[0, 0]) / _ARROWS
    axis.quiver(
        *grid.T,
        *(1.3 * spacing * field / longest).T,
        angles="xy",
        scale_units="xy",
        scale=1,
        color=VERMILION,
        width=0.004,
    )


def set_style(
    axis: "Axes", box: Float64[np.ndarray, "2 2"], scaling: Scaling | None = None
) -> None:
    """Equal scales and a thin frame; the ticks of standardised points are in data
    units.
    """
    axis.set(xlim=box[0], ylim=box[1], aspect="equal")
    if scaling is not None and scaling.standardized:
        _label_in_data_units(axis, box, scaling)
    axis.set_xlabel("$x_1$", color=INK)
    axis.tick_params(colors=INK, labelsize=8, length=2)
    frame_thinly(axis)


def _label_in_data_units(axis: "Axes", box: Float64[np.ndarray, "2 2"], scaling: Scaling) -> None:
    """Ticks at round numbers in data units, on axes of standardised points."""
    from matplotlib.ticker import MaxNLocator

    for line, ends, mean, std in zip(
        (axis.xaxis, axis.yaxis), box, scaling.mean, scaling.std, strict=True
    ):
        low, high = mean + std * ends
        values = [value for value in MaxNLocator(4).tick_values(low, high) if low <= value <= high]
        line.set_ticks(
            [(value - mean) / std for value in values], [f"{value:g}" for value in values]
        )
