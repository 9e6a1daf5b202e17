"""What the tests of the command line share."""

import pytest

from score_sde.cli import main

INTERNALS = ("Traceback", "<class", "invalid literal", "object at 0x", "ConfigDict(", "line 1)", "NoneType", "Error(")


@pytest.fixture
def refused(capsys):
    """Runs a command that must be refused in one line, and returns the line."""

    def run(*argv: str) -> str:
        capsys.readouterr()
        assert main(argv) == 2
        text, errors = capsys.readouterr()
        assert not text and errors.count("\n") == 1 and errors.endswith("\n")
        assert errors.startswith(f"score-sde {argv[0]}: ")
        assert not any(word in errors for word in INTERNALS), errors
        return errors[:-1]

    return run
