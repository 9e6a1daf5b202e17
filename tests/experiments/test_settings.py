"""The settings of a config, and their checks."""

import pytest

from score_sde.experiments.settings import EvaluationOptions, SamplingOptions, TrainingOptions
from score_sde.training import EMA


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (SamplingOptions, {"num_samples": 0}, "num_samples=0 must be at least 1"),
        (SamplingOptions, {"batch_size": -1}, "batch_size=-1 must be at least 1"),
        (TrainingOptions, {"num_steps": 0}, "num_steps=0 must be at least 1"),
        (TrainingOptions, {"batch_size": 0}, "batch_size=0 must be at least 1"),
        (TrainingOptions, {"log_every": 0}, "log_every=0 must be at least 1"),
        (
            TrainingOptions,
            {"checkpoint_every": 0},
            "checkpoint_every=0 must be at least 1",
        ),
        (TrainingOptions, {"keep_last": 0}, "keep_last=0 must be at least 1"),
        (TrainingOptions, {"keep_best": -1}, "keep_best=-1 must be at least 0"),
        (TrainingOptions, {"eval_every": -1}, "eval_every=-1 must be at least 0"),
        (
            TrainingOptions,
            {"snapshot_every": -1},
            "snapshot_every=-1 must be at least 0",
        ),
        (
            TrainingOptions,
            {"ema_decay": 1.0},
            "ema_decay=1.0 must be at least 0 and less than 1",
        ),
        (EvaluationOptions, {"batch_size": 0}, "batch_size=0 must be at least 1"),
        (EvaluationOptions, {"max_examples": 0}, "max_examples=0 must be at least 1"),
        (EvaluationOptions, {"rtol": 0.0}, "rtol=0.0 must be positive and finite"),
        (EvaluationOptions, {"t_min": -1e-5}, "t_min=-1e-05 must be positive and finite"),
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
