"""Points in the plane: samples against data, and the score, the trajectories and the
density of the model.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float, Float64

from score_sde import checks
from score_sde.data import Scaling
from score_sde.evaluation.plots.figure import (
    BLUE,
    FRAME,
    VERMILION,
    WIDTH,
    new_figure,
)
from score_sde.runtime.atomic_files import PathLike
from score_sde.typing import ScoreFn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 160
_ARROWS = 21

DEPTH = 12.0
"""The range of the colours of a log density, in nats."""


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
    count, drawn = 2 + (score_fn is not None), np.asarray(samples, np.float64)
    with _panels(path, count, drawn, data, max_points, scaling) as (axes, box):
        if score_fn is not None:
            _draw_shading(axes[2], drawn, box)
            _draw_score(axes[2], score_fn, t, box)
            axes[2].set_title(rf"score $s_\theta(x, t)$ at $t={t:g}$")


def plot_model(
    path: PathLike,
    samples: Float[ArrayLike, "n 2"],
    data: Float[ArrayLike, "m 2"],
    trajectories: Float[ArrayLike, "k frames 2"],
    *,
    log_density: Float[ArrayLike, "grid grid"] | None = None,
    max_points: int = 4000,
    scaling: Scaling | None = None,
) -> None:
    """Write four panels on the same axes: data, samples, trajectories from noise to
    samples, and the log density.

    The axes span the data. The lowest colour of the log density stands for all values
    `DEPTH` nats or more below the highest. ::

        plot_model("samples.png", samples, data, paths, log_density=log_density)

    Args:
        path: the figure to write.
        samples: the samples, in model units.
        data: held-out data, in model units.
        trajectories: the states of a few samples, the noise first, in model units.
        log_density: the log density in nats at the middles of equal squares of
            `square_about` the data, the first axis being ``x_1``; None for three panels.
        max_points: points drawn in a panel; the shading counts all of them.
        scaling: from data to model units, for axes labelled in data units.

    Raises:
        ValueError: no data, or data that are not finite.
    """
    count, drawn = 3 + (log_density is not None), np.asarray(samples, np.float64)
    with _panels(path, count, drawn, data, max_points, scaling) as (axes, box):
        _draw_trajectories(axes[2], np.asarray(trajectories, np.float64))
        if log_density is not None:
            _draw_log_density(axes[3], np.asarray(log_density, np.float64), box)


@contextlib.contextmanager
def _panels(
    path: PathLike,
    count: int,
    samples: Float64[np.ndarray, "n 2"],
    data: Float[ArrayLike, "m 2"],
    max_points: int,
    scaling: Scaling | None,
) -> "Iterator[tuple[Sequence[Axes], Float64[np.ndarray, '2 2']]]":
    """A figure of ``count`` panels on one space about the data, and that space. Data and
    samples are in the first two; the block draws the others.
    """
    given = _checked(data)
    box = square_about(given)
    with new_figure(path, height=panel_height(count)) as figure:
        axes = figure.subplots(1, count, sharex=True, sharey=True)
        for axis, title, points in zip(axes, ("data", "samples"), (given, samples), strict=False):
            _draw_points(axis, points, box, max_points)
            axis.set_title(title)
        yield axes, box
        _set_axes(axes, box, scaling)


def panel_height(count: int) -> float:
    """The height in inches of a figure with ``count`` square panels side by side."""
    return WIDTH / count + 0.45


def _checked(data: Float[ArrayLike, "m 2"]) -> Float64[np.ndarray, "m 2"]:
    """Finite points in float64."""
    given = np.asarray(data, np.float64)
    checks.require(
        len(given) and np.isfinite(given).all(),
        "the data to compare with must be one or more finite points",
    )
    return given


def _set_axes(
    axes: "Sequence[Axes]", box: Float64[np.ndarray, "2 2"], scaling: Scaling | None
) -> None:
    """One space for all panels, with numbers at the left only."""
    for axis in axes:
        set_style(axis, box, scaling)
        axis.label_outer()
    for axis in axes[1:]:
        axis.tick_params(labelleft=False)
    axes[0].set_ylabel("$x_2$")


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
        *points[:max_points].T, s=1.5, color="#08306b", alpha=0.4, linewidths=0, rasterized=True
    )
    inside = ((points >= box[:, 0]) & (points <= box[:, 1])).all(axis=1)
    if not inside.all():
        axis.text(
            0.98,
            0.02,
            f"{(~inside).mean():.1%} outside",
            transform=axis.transAxes,
            ha="right",
            fontsize=8,
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


def _draw_trajectories(axis: "Axes", paths: Float64[np.ndarray, "k frames 2"]) -> None:
    """Thin lines from noise, in red, to samples, in blue."""
    from matplotlib.collections import LineCollection

    axis.add_collection(LineCollection(list(paths), colors=FRAME, linewidths=0.5, alpha=0.7))
    style = {"fontsize": 9, "bbox": {"color": "white", "alpha": 0.8, "pad": 0.5}}
    for frame, colour, height, label in (
        (0, VERMILION, 0.12, "noise"),
        (-1, BLUE, 0.04, "samples"),
    ):
        axis.scatter(*paths[:, frame].T, s=7, color=colour, linewidths=0, zorder=3)
        axis.text(0.03, height, label, color=colour, transform=axis.transAxes, **style)
    axis.set_title("trajectories")


def _draw_log_density(
    axis: "Axes",
    values: Float64[np.ndarray, "grid grid"],
    box: Float64[np.ndarray, "2 2"],
) -> None:
    """The log density as colours, and their scale."""
    finite = values[np.isfinite(values)]
    top = float(finite.max()) if finite.size else 0.0
    image = axis.imshow(
        values.T,
        origin="lower",
        extent=tuple(box.ravel()),
        interpolation="bilinear",
        cmap="viridis",
        vmin=top - DEPTH,
        vmax=top,
    )
    axis.set_title("log density")
    bar = axis.inset_axes((1.04, 0.0, 0.05, 1.0))
    axis.figure.colorbar(image, cax=bar, label=r"$\log p(x)$ in nats", extend="min")


def _draw_score(axis: "Axes", score_fn: ScoreFn, t: float, box: Float64[np.ndarray, "2 2"]) -> None:
    """Arrows on a grid."""
    ticks = np.linspace(0.03, 0.97, _ARROWS)
    grid = np.stack(
        np.meshgrid(*(low + ticks * (high - low) for low, high in box)), axis=-1
    ).reshape(-1, 2)
    score = jax.jit(jax.vmap(lambda x: score_fn(x, t)))(jnp.asarray(grid, jnp.result_type(float)))
    field = np.asarray(score, np.float64)
    field = field / (np.sqrt(np.linalg.norm(field, axis=1, keepdims=True)) + 1e-12)
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
    axis.set_xlabel("$x_1$")


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
