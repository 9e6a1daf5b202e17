"""Runs with wrong settings raise before anything is computed."""

import numpy as np
import pytest

from score_sde.data.loader import Loader
from score_sde.training import Evaluation, Hook, TrainingRun


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_steps": -1}, "^num_steps=-1 must be at least 0$"),
        ({"log_every": 0}, "^log_every=0 must be at least 1$"),
        ({"checkpoint_every": 0}, "^checkpoint_every=0 must be at least 1$"),
        ({"max_skipped": 0}, "^max_skipped=0 must be at least 1$"),
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
            "^batch_size=6 must be a positive multiple of 8, to be split evenly over 8 devices",
        ),
    ],
)
def test_wrong_settings_are_named(toy, wrong, message):
    options = {
        "state": toy.state(),
        "step": toy.step(),
        "loader": toy.loader,
        "key": toy.key,
        "num_steps": 3,
    }
    with pytest.raises(ValueError, match=message):
        TrainingRun(**{**options, **wrong})


def test_intervals_and_numbers_of_batches_are_at_least_1(toy):
    with pytest.raises(ValueError, match=r"^every=0 must be at least 1$"):
        Hook(every=0, run=lambda state, step: None)
    with pytest.raises(ValueError, match=r"^num_batches=0 must be at least 1$"):
        Evaluation(every=1, step=toy.eval_step(), loader=toy.held_out, key=toy.key, num_batches=0)
