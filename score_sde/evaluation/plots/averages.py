"""Averages of the parameters: their weights along a run, and the post-hoc EMA of
snapshots.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from score_sde import checks
from score_sde.evaluation.plots.figure import (
    BLUE,
    FRAME,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    save_figure,
)
from score_sde.runtime.atomic_files import PathLike
from score_sde.training import Average, HalfLifeEMA, PowerEMA, fit_profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (BLUE, SKY, GREEN, ORANGE, PURPLE)
"""The colours of averages."""

WANTED = VERMILION
"""The colour of the post-hoc EMA."""


def plot_profiles(
    path: PathLike,
    averages: Mapping[str, Average] | None = None,
    *,
    num_steps: int = 2000,
    tracked: Sequence[float] = (0.05, 0.10),
    every: int = 250,
    wanted: float = 0.15,
) -> None:
    """Write two panels: the profiles of averages at the end of a run, and a post-hoc
    EMA of another width.

    A profile is a density over the run: equal weights of all steps would be one. In the
    second panel the profiles of the snapshots are thin, each scaled by its weight in
    the sum, which may be negative.

    Args:
        path: the figure to write; its suffix chooses the format.
        averages: the averages of the first panel by their labels, at most five; None
            for a few examples.
        num_steps: the length of the run.
        tracked: the relative widths of the power averages with snapshots.
        every: the number of steps between snapshots.
        wanted: the relative width of the post-hoc EMA.

    Raises:
        ValueError: there are more averages than colours.
    """
    averages = _examples(num_steps) if averages is None else averages
    checks.require(
        len(averages) <= len(COLOURS),
        f"a figure has room for {len(COLOURS)} averages, not {len(averages)}",
    )
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.3), layout="constrained")
    left, right = figure.subplots(1, 2)
    for colour, (name, average) in zip(COLOURS, averages.items(), strict=False):
        density = _density(average.profile(num_steps), num_steps)
        left.fill_between(_times(num_steps), density, color=colour, alpha=0.12, linewidth=0)
        left.plot(_times(num_steps), density, color=colour, linewidth=1.6, label=name)
    left.set_ylim(0.0)
    left.set_title("weight of the parameters along the run", fontsize=9, color=INK)
    _draw_reconstruction(right, num_steps, tracked, every, wanted)
    for axis in (left, right):
        axis.set_xlim(0.0, 1.0)
        axis.set_xlabel("update, as a fraction of the run", fontsize=8, color=INK)
        axis.tick_params(labelsize=8, colors=INK, length=2)
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set(color=FRAME, linewidth=0.6)
        axis.legend(frameon=False, fontsize=8, loc="upper left", labelcolor=INK)
    save_figure(path, figure)


def _examples(num_steps: int) -> dict[str, Average]:
    powers: dict[str, Average] = {
        f"power, width {width:g}": PowerEMA(sigma_rel=width) for width in (0.05, 0.1, 0.2)
    }
    return {**powers, "half-life of 1/20 of the run": HalfLifeEMA(half_life=num_steps / 20)}


def _draw_reconstruction(
    axis: "Axes", num_steps: int, tracked: Sequence[float], every: int, wanted: float
) -> None:
    """The weighted profiles of the snapshots, their sum, and the wanted profile."""
    steps = [step for _ in tracked for step in range(every, num_steps + 1, every)]
    widths = [width for width in tracked for _ in range(every, num_steps + 1, every)]
    fit = fit_profile(steps, widths, step=num_steps, sigma_rel=wanted)
    times, total = _times(num_steps), np.zeros(num_steps)
    for weight, step, width in zip(fit.weights, steps, widths, strict=True):
        part = weight * _density(PowerEMA(sigma_rel=width).profile(step), num_steps)
        total[:step] += part
        style = {"color": COLOURS[tracked.index(width) % len(COLOURS)], "linewidth": 0.9}
        label = f"snapshots of width {width:g}, weighted" if step == every else None
        axis.plot(
            np.append(times[:step], times[step - 1]), np.append(part, 0.0), label=label, **style
        )
    exact = _density(PowerEMA(sigma_rel=wanted).profile(num_steps), num_steps)
    axis.plot(times, total, color=WANTED, linewidth=2.4, label="their sum")
    axis.plot(
        times,
        exact,
        color=INK,
        linewidth=1.0,
        linestyle=(0, (4, 3)),
        label=f"wanted: width {wanted:g}",
    )
    axis.set_title(
        f"post-hoc EMA of another width: residual {fit.residual:.1%}", fontsize=9, color=INK
    )


def _times(num_steps: int) -> Float[np.ndarray, " num_steps"]:
    return (np.arange(num_steps) + 0.5) / num_steps


def _density(weights: Float[np.ndarray, " n"], num_steps: int) -> Float[np.ndarray, " n"]:
    """Weights of updates as a density over the run."""
    return weights * num_steps
