"""The checkpoints that a run keeps."""

from typing import NamedTuple

import pytest

from score_sde.training.checkpoints.retention import Retention


class Measured(NamedTuple):
    metrics: dict[str, float] | None
    step: int


def kept(retention, losses):
    checkpoints = [
        Measured(None if loss is None else {"eval_loss": loss}, 10 * number)
        for number, loss in enumerate(losses)
    ]
    stays = retention.should_preserve(checkpoints, context=None)
    return [i for i, stay in enumerate(stays) if stay]


def test_keeps_the_last_and_the_best():
    assert kept(Retention(keep_last=2, keep_best=1), [3.0, 1.0, 2.0, 5.0, 4.0]) == [1, 3, 4]
    assert kept(
        Retention(keep_last=1, keep_best=2, best_mode="max"), [3.0, 1.0, 2.0, 5.0, 4.0]
    ) == [3, 4]
    assert kept(Retention(keep_last=1, keep_best=0), [1.0, 2.0, 3.0]) == [2]


def test_checkpoints_at_multiples_of_keep_every_stay():
    assert kept(Retention(keep_last=1, keep_best=0, keep_every=20), [1.0] * 6) == [0, 2, 4, 5]


def test_a_checkpoint_without_the_metric_or_with_nan_is_never_the_best():
    assert kept(Retention(keep_last=1, keep_best=3), [None, float("nan"), 7.0, None]) == [2, 3]
    assert kept(Retention(keep_last=1, best_metric="other"), [1.0, 2.0]) == [1]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"keep_last": 0}, "^keep_last=0 must be at least 1, since a run resumes"),
        ({"keep_best": -1}, "^keep_best=-1 must be at least 0$"),
        ({"keep_every": -1}, "^keep_every=-1 must be at least 0$"),
        ({"best_mode": "least"}, "^best_mode='least' must be one of min, max$"),
    ],
)
def test_numbers_and_modes_out_of_range_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        Retention(**wrong)
