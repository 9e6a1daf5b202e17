"""Two-dimensional samples against data."""

import numpy as np
import pytest
from PIL import Image

from score_sde.evaluation import plot_samples
from score_sde.evaluation.scatter import smoothed_histogram

DATA = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)


def test_histogram_sums_to_the_share_inside_and_peaks_where_the_points_are():
    points = np.concatenate([np.full((3, 2), [0.25, 0.75]), np.full((1, 2), 9.0)])
    density = smoothed_histogram(points, np.array([[0.0, 1.0], [0.0, 1.0]]), bins=40)
    np.testing.assert_allclose(density.sum(), 0.75, rtol=1e-12)
    assert np.unravel_index(density.argmax(), density.shape) == (10, 30)


def test_picture_is_written_and_repeats(tmp_path):
    for name in ("a.png", "b.png"):
        plot_samples(tmp_path / name, DATA + 1, DATA, score_fn=lambda x, t: -x * t, t=0.5)
    plot_samples(tmp_path / "c.png", DATA + 1, DATA)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as three, Image.open(tmp_path / "c.png") as two:
        assert three.size == (1395, 540) and two.size == (945, 540)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png", "c.png"]


@pytest.mark.parametrize("samples", [np.full((5, 2), np.nan), np.zeros((0, 2)), 1e9 + DATA])
def test_failed_samples_are_still_drawn(tmp_path, samples):
    plot_samples(tmp_path / "a.png", samples, DATA, score_fn=lambda x, t: 0 * x)
    assert (tmp_path / "a.png").exists()


def test_data_must_be_points(tmp_path):
    for data in (np.zeros((0, 2)), np.full((3, 2), np.nan)):
        with pytest.raises(ValueError, match="finite points"):
            plot_samples(tmp_path / "a.png", DATA, data)
    assert not list(tmp_path.iterdir())
