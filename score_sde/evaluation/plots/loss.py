"""The loss over the steps and by noise level, from the JSON lines of a training."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from score_sde import checks
from score_sde.evaluation.plots.figure import BLUE, VERMILION, lighten, new_figure
from score_sde.objectives.noise_levels import log_snr_of
from score_sde.runtime.atomic_files import PathLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TRAINING, _HELD_OUT = BLUE, VERMILION

_HEIGHT = 3.6  # inches

_LOG_SNR = "log signal-to-noise ratio  $\\log(\\alpha^2 / \\sigma^2)$"

STAGES = 4
"""The number of stages of a training in the figure by noise level."""

HELD_OUT_PREFIX = "eval_"


def read_metrics(path: PathLike) -> dict[str, Float64[np.ndarray, "num 2"]]:
    """The series of every number of a JSON-lines file by name, as rows ``(step,
    value)`` in ascending steps.

    The last record of a step counts, where a resumed run wrote it again. A last line
    cut short by a crash is skipped.

    ::

        read_metrics("run/metrics.jsonl")["loss"][-1]

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line other than the last is not an object with a number ``step``.
    """
    lines = [line for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
    series: dict[str, dict[float, float]] = {}
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            step = float(record["step"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            if number == len(lines):
                break
            raise ValueError(
                f'line {number} of {path} is not a record of metrics such as {{"step": 1, ...}}'
            ) from None
        for name, value in record.items():
            if name != "step" and (
                isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**1000)
            ):
                series.setdefault(name, {})[step] = float(value)
    return {name: np.array(sorted(values.items()), np.float64) for name, values in series.items()}


def smooth(values: Float64[np.ndarray, " num"], *, window: int) -> Float64[np.ndarray, " num"]:
    """Centred moving average over the finite values.

    The window shrinks towards both ends; near the beginning, where a loss falls
    fastest, it spans two thirds of the index.
    """
    finite = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    index = np.arange(len(values))
    reach = np.minimum(np.minimum(index // 3, len(values) - 1 - index), window // 2)
    low, high = index - reach, index + reach + 1
    count = counts[high] - counts[low]
    return np.where(count > 0, (sums[high] - sums[low]) / np.maximum(count, 1), np.nan)


def plot_loss(
    path: PathLike,
    metrics: PathLike,
    *,
    training: str = "loss",
    held_out: str = "eval_loss",
    label: str = "loss",
) -> None:
    """Write the curves of the training loss (thin: as logged; thick: smoothed) and of
    the held-out loss.

    ::

        plot_loss("loss.png", "run/metrics.jsonl")

    The loss axis is logarithmic where the losses are positive and span a factor of 3,
    the step axis where the steps span two decades.

    Args:
        path: the figure to write.
        metrics: the JSON-lines file, with lines such as ``{"step": 100, "loss": 0.1,
            "eval_loss": 0.2}``.
        training: the name of the training loss in it.
        held_out: the name of the held-out loss; it may be absent.
        label: the label of the vertical axis.

    Raises:
        FileNotFoundError: no metrics file.
        ValueError: a broken metrics file, or one without a finite training loss.
    """
    series = read_metrics(metrics)
    curve = series.get(training, np.zeros((0, 2)))
    if not np.isfinite(curve[:, 1]).any():
        raise ValueError(
            f"{metrics} holds no finite {training!r}; its names are: "
            f"{', '.join(sorted(series)) or 'none'}"
        )
    shown = [curve, *([series[held_out]] if held_out in series else [])]
    everything = np.concatenate(shown)
    steps, losses = everything[np.isfinite(everything[:, 1])].T
    smoothed = smooth(curve[:, 1], window=max(1, len(curve) // 20))
    with new_figure(path, height=_HEIGHT) as figure:
        axis = figure.add_subplot()
        axis.plot(*curve.T, color=_TRAINING, linewidth=0.6, alpha=0.3)
        axis.plot(curve[:, 0], smoothed, color=_TRAINING, linewidth=1.8, label="training")
        for points in shown[1:]:
            axis.plot(*points.T, color=_HELD_OUT, marker="o", markersize=3.5, label="held-out")
        if losses.min() > 0 and losses.max() >= 3 * losses.min():
            _set_log_scale(axis, float(losses.max() / losses.min()))
        if steps.min() > 0 and steps.max() >= 100 * steps.min():
            axis.set_xscale("log")
            axis.xaxis.set_major_formatter("{x:,.0f}")
        axis.set(xlabel="training step", ylabel=label)
        axis.legend()
        lighten(axis)


def _set_log_scale(axis: "Axes", span: float) -> None:
    """A logarithmic axis of losses, with plain numbers at more places where the losses
    span a smaller factor.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if span < 100.0 else (1.0,)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())


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
    stages, and of held-out data; a stage without steps has no curve.

    A stage is a quarter of the steps, and its losses are means over it; the held-out
    loss is the mean over the last quarter.

    ::

        plot_loss_by_level("loss_by_level.png", "run/metrics.jsonl")

    Args:
        path: the figure to write.
        metrics: the JSON-lines file of the training.

    Raises:
        FileNotFoundError: no metrics file.
        ValueError: a broken metrics file, or one without losses by noise level.
    """
    series = read_metrics(metrics)
    levels, losses = loss_by_level(series)
    checks.require(losses, f"{metrics} holds no losses by noise level")
    from matplotlib import colormaps

    with new_figure(path, height=_HEIGHT) as figure:
        axis = figure.add_subplot()
        end = max(rows[-1, 0] for rows in losses)
        for stage in range(STAGES):
            bounds = end * stage / STAGES, end * (stage + 1) / STAGES
            colour = colormaps["viridis"](0.85 - 0.85 * stage / (STAGES - 1))
            means = np.array([_mean_within(rows, *bounds) for rows in losses])
            if np.isfinite(means).any():  # a short run has no step in some stages
                label = f"training, to step {bounds[1]:.0f}"
                axis.plot(levels, means, color=colour, marker="o", markersize=3.5, label=label)
        held_out, rest = loss_by_level(series, prefix=HELD_OUT_PREFIX)
        last = np.array([_mean_within(rows, end * (1.0 - 1.0 / STAGES), end) for rows in rest])
        if np.isfinite(last).any():
            style = {"linestyle": "--", "marker": "s", "markersize": 3.5}
            axis.plot(held_out, last, color=_HELD_OUT, label="held-out, at the end", **style)
        shown = np.concatenate([rows[:, 1] for rows in losses])
        if shown.min() > 0.0:
            _set_log_scale(axis, float(shown.max() / shown.min()))
        axis.set(xlabel=_LOG_SNR, ylabel="loss")
        axis.legend()
        lighten(axis)


def _mean_within(rows: Float64[np.ndarray, "_ 2"], after: float, to: float) -> float:
    """The mean loss of the steps in an interval; NaN, which is not drawn, without
    steps.
    """
    inside = rows[(rows[:, 0] > after) & (rows[:, 0] <= to), 1]
    return float(np.mean(inside)) if len(inside) else np.nan
