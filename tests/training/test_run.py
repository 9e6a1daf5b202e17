"""Runs that cannot be made are refused before anything is computed."""

import numpy as np
import pytest

from score_sde.data.loader import Loader
from score_sde.training import Evaluation, Hook, TrainingRun


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_steps": -1}, "num_steps must be at least 0, not -1"),
        ({"log_every": 0}, "log_every must be at least 1, not 0"),
        ({"checkpoint_every": 0}, "checkpoint_every must be at least 1, not 0"),
        ({"max_skipped": 0}, "max_skipped must be at least 1, not 0"),
        (
            {"n_jitted_steps": 3, "checkpoint_every": 7},
            "n_jitted_steps=3 must divide checkpoint_every=7",
        ),
        (
            {"n_jitted_steps": 3, "checkpoint_every": 3, "hooks": (Hook(every=4, run=print),)},
            r"divide hooks\[0\].every=4",
        ),
        (
            {"loader": Loader(array=np.zeros((4, 3), np.float32), batch_size=6)},
            "a batch of 6 cannot be split evenly",
        ),
    ],
)
def test_wrong_values_are_refused_before_anything_runs(toy, wrong, message):
    options = {
        "state": toy.state(),
        "step": toy.step(),
        "loader": toy.loader,
        "key": toy.key,
        "num_steps": 3,
    }
    with pytest.raises(ValueError, match=message):
        TrainingRun(**{**options, **wrong})


def test_wrong_intervals_of_hooks_and_evaluations(toy):
    with pytest.raises(ValueError, match="every must be at least 1, not 0"):
        Hook(every=0, run=lambda state, step: None)
    with pytest.raises(ValueError, match="num_batches must be at least 1, not 0"):
        Evaluation(every=1, step=toy.eval_step(), loader=toy.held_out, key=toy.key, num_batches=0)
