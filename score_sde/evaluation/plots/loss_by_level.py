"""The loss by noise level, from the JSON lines that training writes."""

import numpy as np
from jaxtyping import Float64

from score_sde.evaluation.plots.figure import save_figure
from score_sde.evaluation.plots.loss import read_metrics
from score_sde.objectives.noise_levels import log_snr_of
from score_sde.runtime.atomic_files import PathLike

STAGES = 4
HELD_OUT = "eval_"


def loss_by_level(
    series: dict[str, Float64[np.ndarray, "_ 2"]], *, prefix: str = ""
) -> tuple[Float64[np.ndarray, " levels"], list[Float64[np.ndarray, "_ 2"]]]:
    """The log signal-to-noise ratios of the levels, rising, and the losses there as
    rows ``(step, loss)``.
    """
    found = [
        (log_snr_of(name.removeprefix(prefix)), rows)
        for name, rows in series.items()
        if name.startswith(prefix)
    ]
    levels = sorted(
        ((level, rows) for level, rows in found if level is not None), key=lambda pair: pair[0]
    )
    return np.array([level for level, _ in levels], np.float64), [rows for _, rows in levels]


def plot_loss_by_level(path: PathLike, metrics: PathLike) -> None:
    """Write the loss over the log signal-to-noise ratio: of the training in four
    stages, and of held-out data.

    A stage is a quarter of the steps, and its losses are means over it; the held-out
    loss is that of the last quarter.

    Args:
        path: the picture to write.
        metrics: the JSON-lines file of the training.

    Raises:
        FileNotFoundError: no metrics file.
        ValueError: a broken metrics file, or one without losses by noise level.
    """
    series = read_metrics(metrics)
    levels, losses = loss_by_level(series)
    if not losses:
        raise ValueError(f"{metrics} holds no losses by noise level")
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 3.4), layout="constrained")
    axis = figure.add_subplot()
    end = max(rows[-1, 0] for rows in losses)
    for stage in range(STAGES):
        bounds = end * stage / STAGES, end * (stage + 1) / STAGES
        colour = colormaps["viridis"](0.9 - 0.9 * stage / (STAGES - 1))
        label = f"training, to step {bounds[1]:.0f}"
        axis.plot(
            levels,
            [_mean_within(rows, *bounds) for rows in losses],
            color=colour,
            marker=".",
            label=label,
        )
    held_out, rest = loss_by_level(series, prefix=HELD_OUT)
    if rest:
        last = [_mean_within(rows, end * (1.0 - 1.0 / STAGES), end) for rows in rest]
        axis.plot(
            held_out,
            last,
            color="#D55E00",
            linestyle="--",
            marker="o",
            markersize=3,
            label="held-out, at the end",
        )
    if min(rows[:, 1].min() for rows in losses) > 0.0:
        axis.set_yscale("log")
    axis.set(
        xlabel="log signal-to-noise ratio: noise on the left, data on the right", ylabel="loss"
    )
    axis.grid(which="both", color="#e6e6e6", linewidth=0.5)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=9)
    axis.legend(frameon=False, fontsize=8)
    save_figure(path, figure)


def _mean_within(rows: Float64[np.ndarray, "_ 2"], after: float, to: float) -> float:
    """The mean of the losses of some steps; NaN, which is not drawn, where there is none."""
    inside = rows[(rows[:, 0] > after) & (rows[:, 0] <= to), 1]
    return float(np.mean(inside)) if len(inside) else np.nan
