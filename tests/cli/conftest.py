"""Fixtures of the tests of the command line."""

import numpy as np
import pytest
from usage_errors import check_usage_error

from score_sde.cli import main
from score_sde.evaluation import samples
from score_sde.evaluation.plots.images import save_png


@pytest.fixture(autouse=True)
def no_density(request, monkeypatch):
    """The density of a model takes longer than these samples; `test_end_to_end` draws it."""

    def draw(path, *parts):
        save_png(path, np.zeros((4, 4, 1), np.uint8))
        return {"figure": str(path)}

    if request.path.stem != "test_end_to_end":
        monkeypatch.setattr(samples, "figure_of_plane", draw)


@pytest.fixture
def usage_error(capsys):
    """Runs a command that must end with a usage error, and returns its line."""

    def run(*argv: str) -> str:
        capsys.readouterr()
        assert main(argv) == 2
        text, errors = capsys.readouterr()
        check_usage_error(argv[0], text, errors)
        return errors[:-1]

    return run
