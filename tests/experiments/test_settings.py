"""The settings of a config, and what is refused of them."""

import pytest

from score_sde.experiments.settings import Drawing, Evaluating, Training
from score_sde.training import EMA


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (Drawing, {"num_samples": 0}, "sampling.num_samples must be at least 1, got 0"),
        (Drawing, {"batch_size": -1}, "sampling.batch_size must be at least 1, got -1"),
        (Training, {"num_steps": 0}, "training.num_steps must be at least 1, got 0"),
        (Training, {"batch_size": 0}, "training.batch_size must be at least 1, got 0"),
        (Training, {"log_every": 0}, "training.log_every must be at least 1, got 0"),
        (Training, {"checkpoint_every": 0}, "training.checkpoint_every must be at least 1, got 0"),
        (Training, {"keep_last": 0}, "training.keep_last must be at least 1, got 0"),
        (Training, {"keep_best": -1}, "training.keep_best must not be negative, got -1"),
        (Training, {"eval_every": -1}, "training.eval_every must not be negative, got -1"),
        (Training, {"snapshot_every": -1}, "training.snapshot_every must not be negative, got -1"),
        (
            Training,
            {"ema_decay": 1.0},
            "training.ema_decay must be at least 0 and less than 1, got 1.0",
        ),
        (Evaluating, {"batch_size": 0}, "eval.batch_size must be at least 1, got 0"),
        (Evaluating, {"max_examples": 0}, "eval.max_examples must be at least 1, got 0"),
        (Evaluating, {"rtol": 0.0}, "eval.rtol must be positive, got 0.0"),
        (Evaluating, {"t_min": -1e-5}, "eval.t_min must be positive, got -1e-05"),
    ],
)
def test_lengths_and_tolerances_are_checked(kind, values, message):
    with pytest.raises(ValueError) as error:
        kind(**values)
    assert str(error.value) == message


def test_zero_means_never_and_none_means_all():
    assert Training(eval_every=0, sample_every=0, keep_best=0).ema == EMA(decay=0.9999, warmup=True)
    assert Evaluating(max_examples=None).max_examples is None
