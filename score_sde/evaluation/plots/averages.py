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
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    lighten,
    new_figure,
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
    with new_figure(path, height=3.4) as figure:
        left, right = figure.subplots(1, 2)
        _draw_profiles(left, num_steps, averages)
        _draw_reconstruction(right, num_steps, tracked, every, wanted)
        for axis in (left, right):
            axis.set(xlim=(0.0, 1.0), xlabel="fraction of the training")
            axis.legend(loc="upper left")
            lighten(axis)


def _examples(num_steps: int) -> dict[str, Average]:
    powers: dict[str, Average] = {
        f"power, width {width:g}": PowerEMA(sigma_rel=width) for width in (0.05, 0.1, 0.2)
    }
    return {**powers, "half-life of 1/20 of the run": HalfLifeEMA(half_life=num_steps / 20)}


def _draw_profiles(axis: "Axes", num_steps: int, averages: Mapping[str, Average]) -> None:
    """The profile of each average."""
    for colour, (name, average) in zip(COLOURS, averages.items(), strict=False):
        density = _density(average.profile(num_steps), num_steps)
        axis.plot(_times(num_steps), density, color=colour, linewidth=1.8, label=name)
    axis.set(ylim=0.0, ylabel="density", title="weights of the parameters in an average")


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
        style = {"color": COLOURS[tracked.index(width) % len(COLOURS)], "linewidth": 1.0}
        label = f"snapshots of width {width:g}, weighted" if step == every else None
        axis.plot(
            np.append(times[:step], times[step - 1]), np.append(part, 0.0), label=label, **style
        )
    exact = _density(PowerEMA(sigma_rel=wanted).profile(num_steps), num_steps)
    axis.plot(times, total, color=WANTED, linewidth=2.6, label="their sum")
    axis.plot(
        times,
        exact,
        color=INK,
        linewidth=1.2,
        linestyle=(0, (4, 3)),
        label=f"wanted: width {wanted:g}",
    )
    axis.set_title(f"post-hoc EMA: relative residual {fit.residual:.1%}")


def _times(num_steps: int) -> Float[np.ndarray, " num_steps"]:
    return (np.arange(num_steps) + 0.5) / num_steps


def _density(weights: Float[np.ndarray, " n"], num_steps: int) -> Float[np.ndarray, " n"]:
    """Weights of updates as a density over the run."""
    return weights * num_steps
