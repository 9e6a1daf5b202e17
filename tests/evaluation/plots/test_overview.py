"""The figures of SDEs alone: their names and files."""

import pytest

from score_sde.evaluation.plots import overview, sdes
from score_sde.sdes import SubVPSDE


@pytest.fixture
def drawn(monkeypatch):
    """The names of the rows of every figure, by file; nothing is drawn."""
    found = {}

    def record(path, rows, mixture, **options):
        found[path.name] = list(rows)

    monkeypatch.setattr(sdes, "plot_sdes", record)
    monkeypatch.setattr(overview, "plot_sdes", record)
    return found


def test_all_sdes_are_two_figures_with_the_names_of_the_literature(drawn, tmp_path):
    rows = overview.draw_sdes(tmp_path)
    assert drawn == {
        "sdes.png": ["VP", "sub-VP", "VE"],
        "more_sdes.png": ["EDM", "cosine", "rectified flow", "Brownian motion"],
    }
    assert list(rows.values()) == [str(tmp_path / name) for name in drawn]


def test_one_sde_has_its_name(drawn, tmp_path):
    assert overview.draw_sde(tmp_path, SubVPSDE()) == {"trajectories": str(tmp_path / "sde.png")}
    assert drawn == {"sde.png": ["sub-VP"]}
