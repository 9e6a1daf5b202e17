"""Time grids and the forward clock."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from oracles import SDES, SLOW

from score_sde.experiments.tables import FUNCTIONS
from score_sde.sdes import VPSDE
from score_sde.solvers import (
    CauchyGrid,
    Clock,
    EDMGrid,
    Nodes,
    geometric,
    log_snr,
    marginals_at,
    quadratic,
    uniform,
)


@pytest.mark.parametrize("name", SDES)
@pytest.mark.parametrize("grid", FUNCTIONS["grid"].values(), ids=FUNCTIONS["grid"])
@pytest.mark.parametrize(
    "num_steps", [pytest.param(1, marks=SLOW), 7, pytest.param(1000, marks=SLOW)]
)
def test_grids_fall_strictly_from_t_max_to_t_min(name, grid, num_steps):
    sde = SDES[name]
    times = grid(sde, num_steps)
    assert times.shape == (num_steps + 1,) and times.dtype == np.float64
    np.testing.assert_allclose(times[[0, -1]], [sde.t_max, sde.t_min], rtol=1e-12)
    assert (np.diff(times) < 0.0).all()
    assert (np.diff(times.astype(np.float32)) < 0.0).all()


@dataclass(frozen=True, kw_only=True)
class _WithArray(VPSDE):
    """An SDE of a user that has no hash."""

    table: np.ndarray = field(default_factory=lambda: np.ones(3))


def test_marginals_of_an_sde_with_arrays():
    times = np.array([0.1, 0.5])
    found, expected = (marginals_at(sde, times) for sde in (_WithArray(), VPSDE()))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_grids_are_equally_spaced_in_their_own_coordinate():
    sde = VPSDE(t_min=0.04)
    np.testing.assert_allclose(uniform(sde, 4), [1.0, 0.76, 0.52, 0.28, 0.04])
    np.testing.assert_allclose(quadratic(sde, 4), [1.0, 0.64, 0.36, 0.16, 0.04])


@pytest.mark.parametrize("name", SDES)
def test_grids_in_the_noise_level_are_equally_spaced_in_their_coordinate(name):
    """``log(sigma / alpha)``, ``log sigma``, ``(sigma / alpha)^(1 / rho)``, and the
    angle of the Cauchy quantiles.
    """
    sde = SDES[name]
    coordinates = {
        log_snr: lambda levels: np.log(levels.ratio),
        geometric: lambda levels: np.log(levels.sigma),
        EDMGrid(rho=3.0): lambda levels: levels.ratio ** (1.0 / 3.0),
        CauchyGrid(location=-1.0, scale=2.0): lambda levels: np.arctan(
            (np.log(levels.ratio) + 1.0) / 2.0
        ),
    }
    for grid, coordinate in coordinates.items():
        steps = np.diff(coordinate(marginals_at(sde, grid(sde, 9))))
        np.testing.assert_allclose(steps, steps.mean(), rtol=1e-6)


def test_any_times_may_be_given():
    times = Nodes(times=(1.0, 0.5, 0.001))
    assert Nodes([1.0, 0.5, 0.001]) == times
    assert hash(times) == hash(Nodes([1.0, 0.5, 0.001]))
    np.testing.assert_array_equal(times(VPSDE(), 2), [1.0, 0.5, 0.001])
    with pytest.raises(
        ValueError, match="num_steps=5 must be 2, the number of steps of a grid of 3 times"
    ):
        times(VPSDE(), 5)
    with pytest.raises(ValueError, match="must be at least two, and fall"):
        Nodes(times=(0.1, 0.5))


@pytest.mark.parametrize(("start", "stop", "direction"), [(1.0, 0.2, -1), (0.2, 1.0, 1)])
def test_the_clock_runs_forward_whichever_way_time_goes(start, stop, direction):
    clock = Clock.between(start, stop)
    times = np.linspace(start, stop, 5)
    assert clock.direction == direction
    np.testing.assert_allclose(clock.elapsed(times), np.linspace(0.0, 0.8, 5), atol=1e-15)
    np.testing.assert_allclose([clock.time(clock.elapsed(t)) for t in times], times, rtol=1e-15)
