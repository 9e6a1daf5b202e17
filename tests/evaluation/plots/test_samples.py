"""Figures of samples."""

import numpy as np
import pytest
from PIL import Image

from score_sde.data import Scaling
from score_sde.evaluation.plots.samples import figure_of_samples, figures_of_denoising, is_image

IMAGES, POINTS = Scaling(num_levels=17), Scaling(num_levels=None)


def noise(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "scaling", "wanted"),
    [
        ((8, 8, 1), IMAGES, True),
        ((8, 8, 3), IMAGES, True),
        ((8, 8, 2), IMAGES, False),
        ((8, 8), IMAGES, False),
        ((2,), POINTS, False),
        ((8, 8, 1), POINTS, False),
    ],
)
def test_what_is_an_image(shape, scaling, wanted):
    assert is_image(shape, scaling) is wanted


def test_images_become_a_grid_of_at_most_a_hundred(tmp_path):
    sizes = set()
    for count in (100, 130):
        samples = noise(count, 8, 8, 1)
        path = figure_of_samples(
            tmp_path / "new", f"of_{count}", samples, np.zeros((3, 8, 8, 1)), IMAGES
        )
        assert path == tmp_path / "new" / f"of_{count}.png"
        with Image.open(path) as image:
            sizes.add(image.size)
            assert image.mode == "L"
    assert len(sizes) == 1


def test_points_are_drawn_beside_the_data(tmp_path):
    path = figure_of_samples(tmp_path, "points", noise(50, 2), noise(60, 2), POINTS)
    with Image.open(path) as image:
        assert min(image.size) > 100


@pytest.mark.parametrize(
    ("shape", "scaling"), [((3,), POINTS), ((8, 8, 1), POINTS), ((8, 8, 2), IMAGES)]
)
def test_of_other_data_there_is_no_figure(shape, scaling, tmp_path):
    assert figure_of_samples(tmp_path, "none", noise(4, *shape), noise(4, *shape), scaling) is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("num_frames", [2, 5, 49])
def test_denoising_starts_with_the_latent_and_ends_with_the_image(num_frames, tmp_path):
    frames = noise(num_frames, 9, 8, 8, 1)
    frames[-1] = 0.99  # white at the end
    found = figures_of_denoising(tmp_path, frames, IMAGES)
    assert found == {
        "denoising": tmp_path / "denoising.png",
        "animation": tmp_path / "denoising.gif",
    }
    with Image.open(found["denoising"]) as strip:
        pixels = np.asarray(strip.convert("L")).astype(float)
    left, right = np.unique(pixels[:, 4:10]), np.unique(pixels[:, -10:-4])
    assert (
        len(left) > 5 and len(right) == 2 and right.max() > 250
    )  # noise; white and the colour of the borders
    with Image.open(found["animation"]) as animation:
        assert animation.n_frames > 1


def test_points_are_drawn_beside_the_data_in_the_same_units(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "score_sde.evaluation.plots.samples.plot_samples",
        lambda *args, **kwargs: drawn.append(args),
    )
    scaling = Scaling(num_levels=None, mean=(5e4, 1e-3), std=(1e4, 1e-4))
    data = np.array([[6e4, 1e-3], [3e4, 1.1e-3]], np.float32)
    figure_of_samples(tmp_path, "points", np.zeros((3, 2), np.float32), data, scaling)
    ((_, samples, theirs),) = drawn
    assert not samples.any()
    np.testing.assert_allclose(theirs, [[1.0, 0.0], [-2.0, 1.0]], atol=1e-5)
