"""Trajectories and densities of models of points in the plane, against exact ones."""

from dataclasses import replace

import jax
import numpy as np
import pytest
import tiny
from PIL import Image

from score_sde.data import Scaling
from score_sde.evaluation import plane, samples
from score_sde.evaluation.plots.points import square_about
from score_sde.likelihood.estimators import VariationalEstimator
from score_sde.sdes import VPSDE
from score_sde.sdes.mixture import Mixture

MIXTURE = Mixture(means=((-1.0, 0.5), (1.0, -0.5)), std=0.25)
KEY = jax.random.key(0)


def model(**parts):
    sde = VPSDE()
    return tiny.model_of(sde, lambda params: MIXTURE.score_fn(sde), (2,), **parts)


@pytest.mark.slow
def test_the_density_is_exact_and_integrates_to_one():
    """Whatever the settings of likelihoods; in the units of standardised data too."""
    scaling = Scaling(num_levels=None, mean=(3.0, 10.0), std=(0.5, 20.0))
    exact = model(scaling=scaling)
    exact = replace(exact, evaluating=replace(exact.evaluating, bound=VariationalEstimator()))
    box = square_about(np.asarray(MIXTURE.sample(KEY, 1000), np.float64))
    found = plane.log_density(exact, box)
    assert found.shape == (plane.GRID, plane.GRID)
    assert abs(plane.mass(found, box, scaling) - 1.0) < 0.02

    middles = box[:, :1] + np.diff(box) * (np.arange(plane.GRID) + 0.5) / plane.GRID
    x = np.stack(np.meshgrid(*middles, indexing="ij"), axis=-1).astype(np.float32)
    log_prob = jax.vmap(jax.vmap(lambda x: MIXTURE.log_prob(VPSDE(), x, 0.0)))(x)
    shown = log_prob > log_prob.max() - 12.0
    error = np.abs(found - (log_prob - np.log(0.5 * 20.0)))[shown]
    assert error.mean() < 0.02 and error.max() < 0.4


@pytest.mark.slow
def test_trajectories_go_from_the_prior_to_the_samples():
    frames = samples.frames_of(model(), KEY)
    assert frames.shape == (samples.NUM_FRAMES + 1, samples.NUM_TRAJECTORIES, 2)
    assert 0.7 < frames[0].std() < 1.3 and abs(frames[0].mean()) < 0.3
    centres = np.asarray(MIXTURE.means)
    distance = np.linalg.norm(frames[-1][:, None] - centres, axis=-1).min(axis=1)
    assert np.median(distance) < 3 * MIXTURE.std


@pytest.mark.slow
def test_the_figure_has_four_panels_and_states_the_integral(tmp_path):
    data = np.asarray(MIXTURE.sample(KEY, 500))
    frames = np.stack([data[:20], data[20:40]])
    rows = plane.figure_of_plane(tmp_path / "a.png", model(), data, frames, data)
    assert rows["density"].startswith("integrates to 1.0") or "to 0.99" in rows["density"]
    with Image.open(tmp_path / "a.png") as image:
        width, height = image.size
    assert 3.2 < width / height < 3.4


def test_points_of_levels_and_images_are_no_plane():
    assert plane.is_plane(model())
    assert not plane.is_plane(model(scaling=Scaling(num_levels=4)))
