"""The settings of a config, and what is refused of them."""

import pytest

from score_sde.experiments.settings import EvaluationOptions, SamplingOptions, TrainingOptions
from score_sde.training import EMA


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (SamplingOptions, {"num_samples": 0}, "sampling.num_samples must be at least 1, got 0"),
        (SamplingOptions, {"batch_size": -1}, "sampling.batch_size must be at least 1, got -1"),
        (TrainingOptions, {"num_steps": 0}, "training.num_steps must be at least 1, got 0"),
        (TrainingOptions, {"batch_size": 0}, "training.batch_size must be at least 1, got 0"),
        (TrainingOptions, {"log_every": 0}, "training.log_every must be at least 1, got 0"),
        (
            TrainingOptions,
            {"checkpoint_every": 0},
            "training.checkpoint_every must be at least 1, got 0",
        ),
        (TrainingOptions, {"keep_last": 0}, "training.keep_last must be at least 1, got 0"),
        (TrainingOptions, {"keep_best": -1}, "training.keep_best must not be negative, got -1"),
        (TrainingOptions, {"eval_every": -1}, "training.eval_every must not be negative, got -1"),
        (
            TrainingOptions,
            {"snapshot_every": -1},
            "training.snapshot_every must not be negative, got -1",
        ),
        (
            TrainingOptions,
            {"ema_decay": 1.0},
            "training.ema_decay must be at least 0 and less than 1, got 1.0",
        ),
        (EvaluationOptions, {"batch_size": 0}, "eval.batch_size must be at least 1, got 0"),
        (EvaluationOptions, {"max_examples": 0}, "eval.max_examples must be at least 1, got 0"),
        (EvaluationOptions, {"rtol": 0.0}, "eval.rtol must be positive, got 0.0"),
        (EvaluationOptions, {"t_min": -1e-5}, "eval.t_min must be positive, got -1e-05"),
    ],
)
def test_lengths_and_tolerances_are_checked(kind, values, message):
    with pytest.raises(ValueError) as error:
        kind(**values)
    assert str(error.value) == message


def test_zero_means_never_and_none_means_all():
    assert TrainingOptions(eval_every=0, sample_every=0, keep_best=0).ema == EMA(
        decay=0.9999, warmup=True
    )
    assert EvaluationOptions(max_examples=None).max_examples is None
