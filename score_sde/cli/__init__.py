"""The command line ``score-sde COMMAND --flag=value …``; one file for each command."""

from score_sde.cli.main import main

__all__ = ["main"]
