"""Figures of latents and of interpolation paths."""

import numpy as np
import pytest
from PIL import Image

from score_sde.data import Scaling
from score_sde.evaluation.encoding import Encoded
from score_sde.evaluation.plots.latents import (
    figure_of_interpolation,
    figure_of_latents,
    latents_to_unit,
)

RANDOM = np.random.default_rng(0)
IMAGES, POINTS = (
    {"scaling": Scaling(num_levels=16), "prior_std": 2.0},
    {"scaling": Scaling(num_levels=None), "prior_std": 1.0},
)


def normal(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_three_standard_deviations_of_the_prior_are_the_range():
    np.testing.assert_allclose(
        latents_to_unit(np.array([-9.0, -6.0, 0.0, 6.0]), 2.0), [0, 0, 0.5, 1]
    )


def test_images_latents_and_reconstructions_are_three_rows(tmp_path):
    x = np.full((15, 4, 4, 1), -1, np.float32)
    path = figure_of_latents(tmp_path / "a.png", Encoded(x, 0 * x), 0 * x + 0.99, **IMAGES)
    found = pixels(path)
    factor = (found.shape[1] - 3) // 12
    middle = [found[3 + row * factor + factor // 2, 3 + factor // 2] for row in range(3)]
    assert found.shape[0] == 3 * factor + 3 and middle == [0, 128, 255]


def test_points_are_panels(tmp_path):
    x = normal(30, 2)
    path = figure_of_latents(tmp_path / "a.png", Encoded(x, -x), x, **POINTS)
    assert pixels(path).shape[1] > 2.5 * pixels(path).shape[0]
    steps = normal(3, 5, 2)
    path = figure_of_interpolation(tmp_path / "b.png", steps[:, [0, -1]], steps, steps, x, **POINTS)
    assert pixels(path).shape[1] > 1.5 * pixels(path).shape[0]


def test_a_path_between_images_is_a_row_from_original_to_original(tmp_path):
    ends = np.stack([np.full((2, 4, 4, 1), -1.0), np.full((2, 4, 4, 1), 0.99)], 1).astype(
        np.float32
    )
    steps = np.zeros((2, 5, 4, 4, 1), np.float32)
    found = pixels(
        figure_of_interpolation(tmp_path / "a.png", ends, steps, steps, steps[0], **IMAGES)
    )
    factor = (found.shape[1] - 3) // 5
    for row in range(2):
        values = [
            found[3 + row * factor + factor // 2, 3 + column * factor + factor // 2]
            for column in range(5)
        ]
        assert values == [0, 136, 136, 136, 255]


@pytest.mark.parametrize("shape", [(3,), (4, 4, 2)])
def test_of_other_data_there_is_no_figure(shape, tmp_path):
    x, steps = normal(4, *shape), normal(2, 3, *shape)
    assert figure_of_latents(tmp_path / "a.png", Encoded(x, x), x, **POINTS) is None
    assert (
        figure_of_interpolation(tmp_path / "a.png", steps[:, :2], steps, steps, x, **POINTS) is None
    )
    assert not list(tmp_path.iterdir())
