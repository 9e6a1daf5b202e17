"""The command line: ``score-sde VERB --flag=value …``, a file for each verb."""

from score_sde.cli.main import main

__all__ = ["main"]
