"""Reading metrics, and figures of the loss over the steps and by noise level."""

import json

import numpy as np
import pytest
from PIL import Image

from score_sde.evaluation import plot_loss, plot_loss_by_level, read_metrics
from score_sde.evaluation.plots import figure
from score_sde.evaluation.plots.loss import loss_by_level, smooth
from score_sde.objectives.noise_levels import name_of


def write(path, records, end="\n"):
    path.write_text(
        "\n".join(record if isinstance(record, str) else json.dumps(record) for record in records)
        + end
    )
    return path


def test_steps_are_in_order_and_the_last_record_of_a_step_counts(tmp_path):
    records = [
        {"step": 10, "loss": 3},
        {"step": 20, "loss": 2.0, "eval_loss": 2.5, "device": "cpu"},
    ]
    records += [{"step": 20, "loss": 1.5}, {"step": 15, "loss": 9.0}, '{"step": 30, "lo']
    metrics = read_metrics(write(tmp_path / "m.jsonl", records, end=""))
    assert set(metrics) == {"loss", "eval_loss"}
    assert metrics["loss"].tolist() == [[10, 3], [15, 9], [20, 1.5]]
    assert metrics["eval_loss"].tolist() == [[20, 2.5]]


@pytest.mark.parametrize("line", ["nonsense", "[1, 2]", '{"loss": 1.0}', '{"step": null}'])
def test_a_broken_line_is_named(tmp_path, line):
    path = write(tmp_path / "m.jsonl", [{"step": 1, "loss": 1.0}, line, {"step": 2, "loss": 1.0}])
    with pytest.raises(ValueError, match=r"line 2 of .*m\.jsonl"):
        read_metrics(path)


def test_smoothing_is_a_centred_mean_that_skips_nan():
    values = np.arange(30.0)
    np.testing.assert_allclose(smooth(values, window=7), values)
    values[15] = np.nan
    smoothed = smooth(values, window=6)
    np.testing.assert_allclose(smoothed[15], 15.0)
    np.testing.assert_allclose(smoothed[14], np.mean([11, 12, 13, 14, 16, 17]))
    assert np.isnan(smooth(np.array([np.nan, 1.0]), window=1)[0])


@pytest.mark.parametrize("losses", [[3.0, 1.0, 0.5], [1.0, -1.0, -2.0], [1.0, float("nan"), 0.5]])
def test_the_figure_of_the_loss_is_written_atomically(tmp_path, losses):
    records = [
        {"step": 10**index, "loss": loss, "eval_loss": 1.0} for index, loss in enumerate(losses)
    ]
    plot_loss(tmp_path / "loss.png", write(tmp_path / "m.jsonl", records))
    with Image.open(tmp_path / "loss.png") as image:
        assert image.size == (1700, 720)
        assert len(np.unique(np.asarray(image))) > 50
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loss.png", "m.jsonl"]


def test_metrics_without_a_finite_loss_are_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        plot_loss(tmp_path / "loss.png", tmp_path / "missing.jsonl")
    for record in (
        {"step": 1, "accuracy": 1.0},
        {"step": 1, "loss": float("nan"), "accuracy": 1.0},
    ):
        path = write(tmp_path / "m.jsonl", [record])
        with pytest.raises(ValueError, match="no finite 'loss'; its names are: accuracy"):
            plot_loss(tmp_path / "loss.png", path)
    assert [path.name for path in tmp_path.iterdir()] == ["m.jsonl"]


def write_by_level(path, *, levels=(-3.0, 0.5, 4.0)):
    """Losses that fall with the steps and rise with the level; one of them is missing
    in every other step.
    """
    lines = []
    for step in range(1, 41):
        losses = {name_of(level): float(np.exp(0.3 * level) / step) for level in levels}
        lines.append({"step": step, "loss": 1.0, **losses})
        if step % 2 and levels:
            lines[-1][name_of(levels[-1])] = None
        if step % 10 == 0:
            lines[-1] |= {f"eval_{name}": 1.1 * value for name, value in losses.items()}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_levels_are_in_order_with_their_losses(tmp_path):
    series = read_metrics(write_by_level(tmp_path / "m.jsonl", levels=(4.0, -3.0, 0.5)))
    levels, losses = loss_by_level(series)
    assert levels.tolist() == [-3.0, 0.5, 4.0] and [len(rows) for rows in losses] == [40, 20, 40]
    held_out, rest = loss_by_level(series, prefix="eval_")
    assert held_out.tolist() == levels.tolist() and rest[0][:, 0].tolist() == [10, 20, 30, 40]


def test_the_figure_has_curves_of_several_colours(tmp_path):
    plot_loss_by_level(tmp_path / "levels.png", write_by_level(tmp_path / "m.jsonl"))
    with Image.open(tmp_path / "levels.png") as image:
        assert image.size == (1700, 720)
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 100


def test_metrics_without_levels_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="holds no losses by noise level"):
        plot_loss_by_level(tmp_path / "levels.png", write_by_level(tmp_path / "m.jsonl", levels=()))


@pytest.mark.parametrize(
    "steps, labels",
    [
        ([1], ["training, to step 1"]),
        ([1, 2], ["training, to step 1", "training, to step 2"]),
        ([8, 16, 24, 32], [f"training, to step {step}" for step in (8, 16, 24, 32)]),
    ],
)
def test_the_legend_lists_only_curves_that_have_points(steps, labels, tmp_path, monkeypatch):
    name = name_of(0.5)
    lines = [{"step": step, name: 1.0, f"eval_{name}": 2.0} for step in steps]
    figures = []
    monkeypatch.setattr(figure, "save_figure", lambda path, drawn: figures.append(drawn))
    plot_loss_by_level(tmp_path / "levels.png", write(tmp_path / "m.jsonl", lines))
    (axis,) = figures[0].axes
    assert [text.get_text() for text in axis.get_legend().get_texts()] == [
        *labels,
        "held-out, at the end",
    ]
    assert all(np.isfinite(line.get_ydata()).any() for line in axis.get_lines())


def test_held_out_losses_before_the_last_quarter_are_not_in_the_legend(tmp_path, monkeypatch):
    name = name_of(0.5)
    lines = [{"step": 1, name: 1.0, f"eval_{name}": 2.0}, {"step": 40, name: 1.0}]
    figures = []
    monkeypatch.setattr(figure, "save_figure", lambda path, drawn: figures.append(drawn))
    plot_loss_by_level(tmp_path / "levels.png", write(tmp_path / "m.jsonl", lines))
    (axis,) = figures[0].axes
    assert len(axis.get_legend().get_texts()) == len(axis.get_lines()) == 2
