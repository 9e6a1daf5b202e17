"""The line that ``score-sde likelihood`` reports."""

import numpy as np
import pytest

from score_sde.cli.likelihood import summary
from score_sde.evaluation.likelihoods import Likelihoods

NATS = np.array([-10.0, -20.0, -30.0])


def found(*, std_error=0.0, solver_error=np.nan, num_dims=10):
    fields = (np.full(3, std_error), np.full(3, solver_error), np.array([100, 200, 300]))
    return Likelihoods(NATS, -NATS / (num_dims * np.log(2.0)), *fields)


@pytest.mark.parametrize(
    ("found", "num_points", "text"),
    [
        (found(std_error=1.0), None, "-20.0000 ± 5.7735 nats over 3 examples, 200 evaluations"),
        (found(), 1, "2.8854 ± 0.8329 bits/dim over 3 examples, 200 evaluations"),
        (found(), 4, "2.8854 ± 0.8329 bits/dim over 3 examples, 200 evaluations"),
        (
            found(solver_error=0.01),
            1,
            "2.8854 ± 0.8329 bits/dim over 3 examples, 200 evaluations, moved by 0.0014 by the "
            "tolerance",
        ),
        (
            found(std_error=0.5),
            4,
            "2.8854 ± 0.8329 bits/dim over 3 examples, 200 evaluations, no bound, for the noise of "
            "the points makes it "
            "better by up to 0.072",
        ),
        (
            found(std_error=np.nan),
            4,
            "2.8854 ± 0.8329 bits/dim over 3 examples, 200 evaluations, no bound, for the noise of "
            "the points makes it "
            "better by an unknown amount (of a single probe no error is known)",
        ),
    ],
)
def test_what_is_known_of_the_mean(found, num_points, text):
    assert summary(found, num_points) == text
