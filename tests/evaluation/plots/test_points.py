"""Two-dimensional samples against data."""

import numpy as np
import pytest
from PIL import Image

from score_sde.data import Scaling
from score_sde.evaluation import plot_samples
from score_sde.evaluation.plots.points import plot_model, set_style, smoothed_histogram

DATA = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)


def test_histogram_sums_to_the_fraction_inside_and_peaks_at_the_points():
    points = np.concatenate([np.full((3, 2), [0.25, 0.75]), np.full((1, 2), 9.0)])
    density = smoothed_histogram(points, np.array([[0.0, 1.0], [0.0, 1.0]]), bins=40)
    np.testing.assert_allclose(density.sum(), 0.75, rtol=1e-12)
    assert np.unravel_index(density.argmax(), density.shape) == (10, 30)


def test_the_figure_is_written_and_repeats(tmp_path):
    for name in ("a.png", "b.png"):
        plot_samples(tmp_path / name, DATA + 1, DATA, score_fn=lambda x, t: -x * t, t=0.5)
    plot_samples(tmp_path / "c.png", DATA + 1, DATA)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as three, Image.open(tmp_path / "c.png") as two:
        assert three.size == (1700, 656) and two.size == (1700, 940)
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


def test_axes_of_standardised_points_are_labelled_in_data_units():
    from matplotlib.figure import Figure

    axis = Figure().subplots()
    set_style(
        axis,
        np.array([[-3.0, 3.0], [-2.0, 2.0]]),
        Scaling(num_levels=None, mean=(5e4, 1e-3), std=(1e4, 1e-4)),
    )
    for line, mean, std, low, high in [
        (axis.xaxis, 5e4, 1e4, -3, 3),
        (axis.yaxis, 1e-3, 1e-4, -2, 2),
    ]:
        places, labels = (
            line.get_ticklocs(),
            [float(label.get_text()) for label in line.get_ticklabels()],
        )
        np.testing.assert_allclose(mean + std * places, labels, rtol=1e-9)
        assert len(places) >= 3 and low - 1e-9 <= places.min() and places.max() <= high + 1e-9
    assert [label.get_text() for label in axis.get_xticklabels()] == [
        "30000",
        "45000",
        "60000",
        "75000",
    ]


def test_a_model_has_four_panels_or_without_a_density_three(tmp_path):
    paths = np.stack([DATA[:20], np.full((20, 2), np.nan), DATA[20:40]], axis=1)
    log_density = np.full((8, 8), -3.0)
    log_density[0, 0] = np.nan
    plot_model(tmp_path / "a.png", DATA + 1, DATA, paths, log_density=log_density)
    plot_model(tmp_path / "b.png", DATA + 1, DATA, paths)
    with Image.open(tmp_path / "a.png") as four, Image.open(tmp_path / "b.png") as three:
        assert four.size == (1700, 515) and three.size == (1700, 656)
