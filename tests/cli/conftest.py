"""Fixtures of the tests of the command line."""

import pytest
from usage_errors import check_usage_error

from score_sde.cli import main


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
