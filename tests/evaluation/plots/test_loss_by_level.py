"""The loss by noise level, read and drawn."""

import json

import numpy as np
import pytest
from PIL import Image

from score_sde.evaluation import plot_loss_by_level, read_metrics
from score_sde.evaluation.plots.loss_by_level import loss_by_level
from score_sde.objectives.noise_levels import name_of


def metrics(path, *, levels=(-3.0, 0.5, 4.0)):
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


def test_levels_are_found_in_order_with_what_was_there(tmp_path):
    series = read_metrics(metrics(tmp_path / "m.jsonl", levels=(4.0, -3.0, 0.5)))
    levels, losses = loss_by_level(series)
    assert levels.tolist() == [-3.0, 0.5, 4.0] and [len(rows) for rows in losses] == [40, 20, 40]
    held_out, rest = loss_by_level(series, prefix="eval_")
    assert held_out.tolist() == levels.tolist() and rest[0][:, 0].tolist() == [10, 20, 30, 40]


def test_the_picture_has_curves_of_several_colours(tmp_path):
    plot_loss_by_level(tmp_path / "levels.png", metrics(tmp_path / "m.jsonl"))
    with Image.open(tmp_path / "levels.png") as picture:
        assert picture.size == (900, 510)
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 100


def test_metrics_without_levels_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no losses by noise level"):
        plot_loss_by_level(tmp_path / "levels.png", metrics(tmp_path / "m.jsonl", levels=()))
