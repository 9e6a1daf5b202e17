"""Time grids and the forward clock."""

import numpy as np
import pytest
from oracles import SDES

from score_sde.builders import FUNCTIONS
from score_sde.sdes import VPSDE
from score_sde.solvers import Clock, quadratic, uniform


@pytest.mark.parametrize("name", SDES)
@pytest.mark.parametrize("grid", FUNCTIONS["grid"].values(), ids=FUNCTIONS["grid"])
@pytest.mark.parametrize("num_steps", [1, 7, 1000])
def test_grids_fall_strictly_from_t_max_to_t_min(name, grid, num_steps):
    sde = SDES[name]
    times = grid(sde, num_steps)
    assert times.shape == (num_steps + 1,) and times.dtype == np.float64
    np.testing.assert_allclose(times[[0, -1]], [sde.t_max, sde.t_min], rtol=1e-12)
    assert (np.diff(times) < 0.0).all()
    assert (np.diff(times.astype(np.float32)) < 0.0).all()


def test_grids_are_equally_spaced_in_their_own_coordinate():
    sde = VPSDE(t_min=0.04)
    np.testing.assert_allclose(uniform(sde, 4), [1.0, 0.76, 0.52, 0.28, 0.04])
    np.testing.assert_allclose(quadratic(sde, 4), [1.0, 0.64, 0.36, 0.16, 0.04])


@pytest.mark.parametrize(("start", "stop", "direction"), [(1.0, 0.2, -1), (0.2, 1.0, 1)])
def test_the_clock_runs_forward_whichever_way_time_goes(start, stop, direction):
    clock = Clock.between(start, stop)
    times = np.linspace(start, stop, 5)
    assert clock.direction == direction
    np.testing.assert_allclose(clock.elapsed(times), np.linspace(0.0, 0.8, 5), atol=1e-15)
    np.testing.assert_allclose([clock.time(clock.elapsed(t)) for t in times], times, rtol=1e-15)
