"""Trajectories against the exact marginals, and their figure."""

import jax
import numpy as np
import pytest
from PIL import Image
from scipy.stats import norm

from score_sde.evaluation import plot_sde, plot_sdes
from score_sde.evaluation.plots import figure
from score_sde.evaluation.plots.trajectories import (
    density,
    flow_trajectories,
    forward_trajectories,
    reach,
)
from score_sde.sdes import VESDE, VPSDE, SubVPSDE
from score_sde.sdes.mixture import Mixture

MIXTURE = Mixture(means=((-1.5,), (0.3,), (1.5,)), std=(0.15, 0.1, 0.3), weights=(0.4, 0.2, 0.4))
KEY = jax.random.key(0)


def cumulative(sde, x: np.ndarray, t: float) -> np.ndarray:
    """The distribution function of ``p_t``."""
    alpha, sigma = (float(value) for value in sde.marginal(t))
    std = np.sqrt((alpha * np.asarray(MIXTURE.std)) ** 2 + sigma**2)
    return norm.cdf(x[:, None], alpha * np.asarray(MIXTURE.means)[:, 0], std) @ np.asarray(
        MIXTURE.weights
    )


@pytest.mark.parametrize("sde", [VPSDE(), pytest.param(VESDE(), marks=pytest.mark.slow)], ids=repr)
def test_the_probability_flow_keeps_every_quantile(sde):
    motion = flow_trajectories(KEY, sde, MIXTURE, 50)
    start = cumulative(sde, motion.x[:, -1], sde.t_max)
    for frame in (0, 20, 60):
        np.testing.assert_allclose(
            cumulative(sde, motion.x[:, frame], motion.times[frame]), start, atol=2e-3
        )


def test_forward_trajectories_start_at_their_component_and_repeat():
    """Points lie within 6 standard deviations of the mean of their component: wrong for fewer
    than 1 seed in 10^6.
    """
    sde = VPSDE()
    motion = forward_trajectories(KEY, sde, MIXTURE, 50, num_frames=6)
    assert motion.x.shape == (50, 6) and motion.times.shape == (6,)
    means, std = np.asarray(MIXTURE.means)[:, 0], np.asarray(MIXTURE.std)
    assert (
        np.abs(motion.x[:, 0] - means[motion.component]) < 6 * np.hypot(std, 0.01)[motion.component]
    ).all()
    again = forward_trajectories(KEY, sde, MIXTURE, 50, num_frames=6)
    assert (again.x == motion.x).all()


def test_shading_is_a_density_within_reach():
    sde = SubVPSDE()
    low, high = reach(sde, MIXTURE, sde.t_max, num_stds=8.0)
    shade = density(sde, MIXTURE, np.linspace(low, high, 3001), num_frames=5)
    assert shade.values.shape == (3001, 5)
    np.testing.assert_allclose(np.trapezoid(shade.values, shade.x, axis=0), 1.0, rtol=1e-4)


@pytest.mark.slow
def test_the_figure_has_a_row_for_each_sde_and_repeats(tmp_path):
    sdes = {"VP": VPSDE(), "the same": VPSDE()}
    for name in ("a.png", "b.png"):
        plot_sdes(tmp_path / name, sdes, MIXTURE, key=KEY, num_trajectories=50)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (1700, 920)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


@pytest.mark.slow
def test_a_prior_much_wider_than_the_data_is_drawn_too(tmp_path):
    plot_sde(tmp_path / "ve.png", VESDE(), MIXTURE, key=KEY, num_trajectories=50, name="VE")
    with Image.open(tmp_path / "ve.png") as image:
        assert image.size == (1700, 570)


@pytest.mark.slow
@pytest.mark.parametrize(("t_max", "end"), [(1.0, "1"), (0.5, "$T$")])
def test_the_last_time_is_labelled_where_all_sdes_share_it(tmp_path, monkeypatch, t_max, end):
    figures = []
    monkeypatch.setattr(figure, "save_figure", lambda path, drawn: figures.append(drawn))
    plot_sdes(
        tmp_path / "a.png",
        {"a": VPSDE(), "b": VPSDE(t_max=t_max)},
        MIXTURE,
        key=KEY,
        num_trajectories=2,
    )
    texts = [text.get_text() for axis in figures[0].axes for text in axis.texts]
    assert texts.count(end) == texts.count("0") == 3


def test_wrong_arguments_are_an_error(tmp_path):
    plane = Mixture(means=((0.0, 0.0),), std=1.0)
    with pytest.raises(ValueError, match="in 1 dimension, but the mixture has 2"):
        plot_sde(tmp_path / "a.png", VPSDE(), plane, key=KEY)
    with pytest.raises(ValueError, match="at least one SDE"):
        plot_sdes(tmp_path / "a.png", {}, MIXTURE, key=KEY)
    with pytest.raises(ValueError, match="one trajectory"):
        plot_sde(tmp_path / "a.png", VPSDE(), MIXTURE, key=KEY, num_trajectories=0)
    assert not list(tmp_path.iterdir())
