"""The figure of an SDE: its trajectories forward, by its reverse and by its
probability-flow ODE.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Float

from score_sde import checks
from score_sde.evaluation.plots.figure import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    new_figure,
)
from score_sde.evaluation.plots.names import name_of
from score_sde.evaluation.plots.trajectories import (
    Trajectories,
    density,
    flow_trajectories,
    forward_trajectories,
    reach,
    reverse_trajectories,
)
from score_sde.runtime.atomic_files import PathLike
from score_sde.sampling import SDEDPMSolverPP
from score_sde.sdes import SDE
from score_sde.sdes.mixture import Mixture
from score_sde.solvers import uniform
from score_sde.typing import Key

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpec

COMPONENT_COLOURS = (VERMILION, BLUE, GREEN, PURPLE, ORANGE, SKY)
"""The colours of the components of the data."""

TITLES = (
    "forward SDE  $\\longrightarrow$\n$dx = f\\,dt + g\\,dw$",
    "reverse SDE  $\\longleftarrow$\n$dx = [f - g^2\\,\\nabla\\log p_t]\\,dt + g\\,d\\bar{w}$",
    "probability-flow ODE  $\\longleftarrow$\n$dx = [f - \\frac{1}{2}g^2\\,\\nabla\\log p_t]\\,dt$",
)
"""The titles of the three panels; the arrow is the direction of time."""

REVERSE = SDEDPMSolverPP(num_steps=1000, grid=uniform)
"""The figure shows equal steps in ``t``, which are accurate with the linear part exact."""

_SHADE = "#8c8c8c"
_POINTS = 400
_WIDE = 10.0  # a prior at least so many times wider than the data has an asinh axis


def plot_sde(
    path: PathLike,
    sde: SDE,
    mixture: Mixture,
    *,
    key: Key,
    num_trajectories: int = 40,
    name: str | None = None,
) -> None:
    """Write the figure of one SDE: `plot_sdes` with a single row.

    ::

    plot_sde("vp.png", score_sde.VPSDE(), mixture, key=jax.random.key(0))
    """
    plot_sdes(
        path, {name or name_of(sde): sde}, mixture, key=key, num_trajectories=num_trajectories
    )


def plot_sdes(
    path: PathLike,
    sdes: Mapping[str, SDE],
    mixture: Mixture,
    *,
    key: Key,
    num_trajectories: int = 40,
) -> None:
    """Write one row of panels for each SDE: forward SDE, reverse SDE, probability-flow
    ODE, over the exact ``p_t(x)``.

    The left edge shows the density of the data; the right edge, ``p_t`` at ``t_max``
    (filled) and the prior of the samplers (dashed). Reverse and flow have the exact
    score and the same starting points. A trajectory has the colour of the component at
    its clean end. Each column of the shading is scaled by its own maximum. Where the
    prior is many times wider than the data, the axis is linear about the data and
    logarithmic beyond (asinh).

    Args:
        path: the figure to write; its suffix chooses the format.
        sdes: the SDEs by their labels.
        mixture: the data, in one dimension.
        key: the source of all randomness.
        num_trajectories: lines in every panel.

    Raises:
        ValueError: no SDE, no trajectory, or data that are not one-dimensional.
    """
    checks.require(
        mixture.dim == 1,
        f"trajectories are drawn in 1 dimension, but the mixture has {mixture.dim}",
    )
    checks.require(
        sdes and num_trajectories >= 1,
        "a figure of trajectories needs at least one SDE and one trajectory",
    )
    height = 1.1 + 1.75 * len(sdes)
    with new_figure(path, height=height) as figure:
        figure.set_layout_engine("none")
        grid = figure.add_gridspec(
            len(sdes),
            5,
            width_ratios=(0.4, 3, 3, 3, 0.4),
            wspace=0.05,
            hspace=0.1,
            left=0.095,
            right=0.975,
            top=1 - 0.55 / height,
            bottom=0.5 / height,
        )
        rows = [
            _draw_row(figure, grid, row, name, sde, mixture, key, num_trajectories)
            for row, (name, sde) in enumerate(sdes.items())
        ]
        ends = {sde.t_max for sde in sdes.values()}
        _label_bottom(rows[-1], f"{ends.pop():g}" if len(ends) == 1 else "$T$")


def _draw_row(
    figure: "Figure",
    grid: "GridSpec",
    row: int,
    name: str,
    sde: SDE,
    mixture: Mixture,
    key: Key,
    num: int,
) -> "list[Axes]":
    """One SDE: the data's density, three panels, the prior's density, on one axis for
    ``x``.
    """
    first = figure.add_subplot(grid[row, 0])
    axes = [first, *(figure.add_subplot(grid[row, column], sharey=first) for column in range(1, 5))]
    x = _set_space(first, sde, mixture)
    forward_key, reverse_key = jax.random.split(key)
    motions = (
        forward_trajectories(forward_key, sde, mixture, num),
        reverse_trajectories(reverse_key, sde, mixture, num, sampler=REVERSE),
        flow_trajectories(reverse_key, sde, mixture, num),
    )
    shade = density(sde, mixture, x)
    for panel, title, motion in zip(axes[1:4], TITLES, motions, strict=True):
        _draw_density(panel, shade.times, shade.x, shade.values)
        _draw_trajectories(panel, motion)
        panel.set_xlim(0.0, sde.t_max)
        panel.tick_params(left=False, labelleft=False, bottom=False, labelbottom=False)
        if row == 0:
            panel.set_title(title, linespacing=1.5)
    _draw_edges(axes[0], axes[4], sde, mixture, x, shade.values[:, -1])
    box = axes[1].get_position()
    middle = box.y0 + box.height / 2
    for place, text, weight in ((0.006, name, "bold"), (0.032, "$x_t$", "normal")):
        figure.text(place, middle, text, rotation=90, va="center", weight=weight)
    return axes


def _set_space(axis: "Axes", sde: SDE, mixture: Mixture) -> Float[np.ndarray, " points"]:
    """Set the axis of ``x``, and return points evenly spread over it."""
    ends = np.array([reach(sde, mixture, t) for t in np.linspace(sde.t_min, sde.t_max, 9)])
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    unit = float(np.abs(ends[0]).max()) / 2
    if high - low < _WIDE * (ends[0, 1] - ends[0, 0]):
        points = np.linspace(low, high, _POINTS)
    else:
        points = unit * np.sinh(
            np.linspace(np.arcsinh(low / unit), np.arcsinh(high / unit), _POINTS)
        )
        axis.set_yscale("asinh", linear_width=unit)
        decades = 10.0 ** np.arange(
            np.rint(np.log10(unit)), np.floor(np.log10(max(-low, high))) + 1
        )
        ticks = [*-decades[::-1], 0.0, *decades]
        axis.set_yticks(ticks, [f"{tick:g}".replace("-", "−") for tick in ticks])
        axis.minorticks_off()
    axis.set_ylim(low, high)
    return points


def _draw_density(
    axis: "Axes",
    times: Float[np.ndarray, " frames"],
    x: Float[np.ndarray, " points"],
    values: Float[np.ndarray, "points frames"],
) -> None:
    """``p_t(x)`` as shading, each time scaled by its own maximum."""
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list("density", ["#ffffff", "#b0b0b0"])
    axis.pcolormesh(
        times,
        x,
        values / values.max(axis=0),
        cmap=shades,
        shading="gouraud",
        rasterized=True,
        zorder=0,
    )


def _draw_trajectories(axis: "Axes", motion: Trajectories) -> None:
    """Thin lines in the colours of their components."""
    from matplotlib.collections import LineCollection

    lines = [np.column_stack([motion.times, line]) for line in motion.x]
    colours = [
        COMPONENT_COLOURS[component % len(COMPONENT_COLOURS)] for component in motion.component
    ]
    axis.add_collection(
        LineCollection(lines, colors=colours, linewidths=0.7, alpha=0.6), autolim=False
    )


def _draw_edges(
    left: "Axes",
    right: "Axes",
    sde: SDE,
    mixture: Mixture,
    x: Float[np.ndarray, " points"],
    last: Float[np.ndarray, " points"],
) -> None:
    """The density of the data, by components, at the left; ``p_t`` at ``t_max`` and the
    prior at the right.
    """
    weights = mixture.weights or (1 / mixture.num_components,) * mixture.num_components
    stds = np.broadcast_to(np.asarray(mixture.std), (mixture.num_components,))
    for index, (mean, std, weight) in enumerate(zip(mixture.means, stds, weights, strict=True)):
        fine = np.linspace(mean[0] - 4 * std, mean[0] + 4 * std, 101)
        colour = COMPONENT_COLOURS[index % len(COMPONENT_COLOURS)]
        left.fill_betweenx(
            fine, weight * _normal(fine, mean[0], std), color=colour, alpha=0.75, linewidth=0
        )
    left.invert_xaxis()
    right.fill_betweenx(x, last, color=_SHADE, alpha=0.6, linewidth=0)
    right.plot(_normal(x, 0.0, sde.prior_std()), x, color=INK, linewidth=1.0, linestyle=(0, (3, 2)))
    for axis in (left, right):
        axis.margins(x=0.0)
        axis.set_xticks([])
        for side in ("top", "bottom", "left", "right"):
            axis.spines[side].set_visible(False)
    right.tick_params(left=False, labelleft=False)


def _normal(
    x: Float[np.ndarray, " points"], mean: float, std: float
) -> Float[np.ndarray, " points"]:
    """The normal density."""
    return np.exp(-0.5 * ((x - mean) / std) ** 2) / (std * np.sqrt(2 * np.pi))


def _label_bottom(axes: "list[Axes]", end: str) -> None:
    """The time axis under the panels, and the labels of the edges."""
    label = {"y": -0.05, "va": "top", "fontsize": 9.0}
    for panel in axes[1:4]:
        for place, text, align in ((0.0, "0", "left"), (0.5, "$t$", "center"), (1.0, end, "right")):
            panel.text(place, s=text, ha=align, transform=panel.transAxes, **label)
    for axis, text in ((axes[0], "$p_0$\ndata"), (axes[4], "$p_T$\n╌ prior")):
        axis.text(0.5, s=text, ha="center", transform=axis.transAxes, **label)
