"""The toy distributions: scale, support and options."""

import numpy as np
import pytest

from score_sde.data import checkerboard, mixture, moons, swiss_roll

TOYS = [mixture, swiss_roll, checkerboard, moons]


@pytest.mark.parametrize("toy", TOYS)
def test_mean_is_zero_and_variance_about_one(toy):
    """40,000 draws: a mean is within 5 standard errors (0.025) of zero but for 1 run in
    1.7 million.
    """
    source = toy(num_examples=40_000)
    points = np.concatenate([source.train, source.test])
    assert points.shape == (40_000, 2)
    assert points.dtype == np.float32
    assert source.num_levels is None
    assert source.shape == (2,)
    assert np.abs(points.mean(axis=0)).max() < 0.03
    assert abs(points.var(axis=0).mean() - 1) < 0.05


@pytest.mark.parametrize("toy", TOYS)
def test_seeds_repeat_and_differ(toy):
    np.testing.assert_array_equal(toy(num_examples=50).train, toy(num_examples=50).train)
    assert not np.array_equal(toy(num_examples=50).train, toy(num_examples=50, seed=1).train)


@pytest.mark.parametrize("toy", TOYS)
def test_noise_widens_by_its_own_variance(toy):
    """Same seed, same points: the difference is the noise alone (18,000 values,
    standard error 0.0026).
    """
    clean, noisy = (toy(num_examples=10_000, noise=noise).train for noise in (0.0, 0.5))
    assert abs((noisy - clean).std() - 0.5) < 0.015


def test_mixture_without_noise_is_its_centres():
    source = mixture(num_examples=1000, noise=0.0, num_modes=5)
    angle = 2 * np.pi * source.train_labels / 5
    np.testing.assert_allclose(
        source.train, np.sqrt(2) * np.stack([np.cos(angle), np.sin(angle)], -1), atol=1e-6
    )
    assert set(source.train_labels) == set(range(5))


def test_checkerboard_fills_the_dark_squares_alone():
    points = checkerboard(num_examples=5000).train
    square = np.floor(points / (np.sqrt(3) / 2)).astype(int) + 2
    assert ((square >= 0) & (square < 4)).all()
    assert (square.sum(axis=1) % 2 == 0).all()
    assert len(np.unique(square, axis=0)) == 8


def test_swiss_roll_is_one_spiral():
    """The radius about the spiral's own centre determines the angle: r = θ."""
    points = swiss_roll(num_examples=2000, noise=0.0).train.astype(np.float64)
    mean = np.array([2.0, 2 / (3 * np.pi)])
    theta_squared = (4.5**3 - 1.5**3) / 9 * np.pi**2
    x, y = (points * np.sqrt((theta_squared - mean @ mean) / 2) + mean).T
    radius = np.hypot(x, y)
    np.testing.assert_allclose(np.cos(radius - np.arctan2(y, x)), 1, atol=1e-6)
    assert 1.5 * np.pi - 1e-4 <= radius.min() < 5
    assert 14 < radius.max() <= 4.5 * np.pi + 1e-4


def test_moons_are_two_half_circles():
    source = moons(num_examples=2000, noise=0.0)
    points = source.train / np.sqrt(2) * np.where(source.train_labels == 1, -1, 1)[:, None] + [
        0.5,
        0.25,
    ]
    np.testing.assert_allclose(np.hypot(*points.T), 1, atol=1e-6)
    assert points[:, 1].min() >= -1e-6
    assert set(source.train_labels) == {0, 1}


@pytest.mark.parametrize("toy", TOYS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_examples": 1}, "num_examples=1 must be at least 2, one to train on"),
        ({"num_examples": -5}, "num_examples=-5 must be at least 2"),
        ({"noise": -0.1}, "noise=-0.1 must be a finite number of at least 0, it is a standard dev"),
        ({"noise": float("nan")}, "noise=nan must be a finite number of at least 0"),
        ({"seed": -1}, "seed=-1 must be from 0 to"),
    ],
)
def test_bad_options_are_errors_of_one_line(toy, options, message):
    with pytest.raises(ValueError, match=message):
        toy(**options)


def test_mixture_needs_a_mode():
    with pytest.raises(ValueError, match="num_modes=0 must be at least 1"):
        mixture(num_modes=0)
