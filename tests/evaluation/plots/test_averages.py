"""The figure of the profiles of averages."""

import numpy as np
import pytest
from PIL import Image

from score_sde.evaluation.plots.averages import plot_profiles
from score_sde.training import EMA


@pytest.mark.parametrize(
    "averages", [pytest.param(None, marks=pytest.mark.slow), {"decay": EMA(decay=0.9)}]
)
def test_the_figure_has_curves_of_several_colours(averages, tmp_path):
    plot_profiles(tmp_path / "profiles.png", averages, num_steps=200, every=25)
    with Image.open(tmp_path / "profiles.png") as image:
        assert image.size == (1700, 680)
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 100


def test_more_averages_than_colours_are_an_error(tmp_path):
    averages = {str(number): EMA(decay=0.1 * number) for number in range(6)}
    with pytest.raises(ValueError, match="a figure has room for 5 averages, not 6"):
        plot_profiles(tmp_path / "profiles.png", averages)
    assert not list(tmp_path.iterdir())
