"""What averages of the parameters are made of: the weights of a run's updates, and how
snapshots give other weights.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from score_sde.evaluation.plots.figure import save_figure
from score_sde.runtime.atomic_files import PathLike
from score_sde.training import Average, HalfLifeEMA, PowerEMA, fit_profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#CC79A7")
"""Of the palette of Okabe & Ito."""

WANTED = "#D55E00"
_INK = "#333333"


def plot_profiles(
    path: PathLike,
    averages: Mapping[str, Average] | None = None,
    *,
    num_steps: int = 2000,
    tracked: Sequence[float] = (0.05, 0.10),
    every: int = 250,
    wanted: float = 0.15,
) -> None:
    """Write two panels: the profiles of averages at the end of a run, and one that is
    made of the snapshots of others.

    Weights are per part of the run, so that the mean of all steps would be one. In the
    second panel the profiles of the snapshots are thin, each scaled by its weight in
    the sum; one below zero is taken away.

    Args:
        path: the file to write; its suffix chooses the format.
        averages: the averages of the first panel by the names to print, at most five; a
            few examples unless given.
        num_steps: the length of the run.
        tracked: the relative widths of the power averages that snapshots are taken of.
        every: between how many steps.
        wanted: the relative width that is made of them.

    Raises:
        ValueError: where there are more averages than colours.
    """
    averages = _examples(num_steps) if averages is None else averages
    if len(averages) > len(COLOURS):
        raise ValueError(f"a picture has room for {len(COLOURS)} averages, not {len(averages)}")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.3), layout="constrained")
    left, right = figure.subplots(1, 2)
    for colour, (name, average) in zip(COLOURS, averages.items(), strict=False):
        density = _density(average.profile(num_steps), num_steps)
        left.fill_between(_times(num_steps), density, color=colour, alpha=0.12, linewidth=0)
        left.plot(_times(num_steps), density, color=colour, linewidth=1.6, label=name)
    left.set_ylim(0.0)
    left.set_title("weight of the parameters along the run", fontsize=9, color=_INK)
    _draw_reconstruction(right, num_steps, tracked, every, wanted)
    for axis in (left, right):
        axis.set_xlim(0.0, 1.0)
        axis.set_xlabel("update, as a part of the run", fontsize=8, color=_INK)
        axis.tick_params(labelsize=8, colors=_INK, length=2)
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set(color="#bbbbbb", linewidth=0.6)
        axis.legend(frameon=False, fontsize=8, loc="upper left", labelcolor=_INK)
    save_figure(path, figure)


def _examples(num_steps: int) -> dict[str, Average]:
    powers: dict[str, Average] = {
        f"power, width {width:g}": PowerEMA(sigma_rel=width) for width in (0.05, 0.1, 0.2)
    }
    return {**powers, "half-life of 1/20 of the run": HalfLifeEMA(half_life=num_steps / 20)}


def _draw_reconstruction(
    axis: "Axes", num_steps: int, tracked: Sequence[float], every: int, wanted: float
) -> None:
    """The parts that the snapshots have in the sum, the sum, and what was wanted."""
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
        color=_INK,
        linewidth=1.0,
        linestyle=(0, (4, 3)),
        label=f"wanted: width {wanted:g}",
    )
    axis.set_title(
        f"a width that was not kept: residual {fit.residual:.1%}", fontsize=9, color=_INK
    )


def _times(num_steps: int) -> Float[np.ndarray, " num_steps"]:
    return (np.arange(num_steps) + 0.5) / num_steps


def _density(weights: Float[np.ndarray, " n"], num_steps: int) -> Float[np.ndarray, " n"]:
    """Weights of updates, per part of a run."""
    return weights * num_steps
