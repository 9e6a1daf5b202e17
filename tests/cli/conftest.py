"""What the tests of the command line share."""

import pytest
from refusals import check_refusal

from score_sde.cli import main


@pytest.fixture
def refused(capsys):
    """Runs a command that must be refused in one line, and returns the line."""

    def run(*argv: str) -> str:
        capsys.readouterr()
        assert main(argv) == 2
        text, errors = capsys.readouterr()
        check_refusal(argv[0], text, errors)
        return errors[:-1]

    return run
