"""Where Python finds the user's own code, and this program in a new process."""

import sys
from importlib import metadata
from pathlib import Path


def command_line() -> tuple[str, ...]:
    """The words that start ``score-sde`` in a new Python process.

    With ``-P`` that process does not import libraries from the current folder. A copy
    of this package that is not installed needs the current folder, and does without.
    """
    try:
        metadata.version("score-sde")
    except metadata.PackageNotFoundError:
        return sys.executable, "-m", "score_sde"
    return sys.executable, "-P", "-m", "score_sde"


def look_in_current_folder() -> None:
    """Let the user's own code be imported from the current folder.

    The folder is searched last, and only where a command runs such code: otherwise a
    ``matplotlib.py`` there would replace the library, and any file a module that is not
    installed.
    """
    if not {"", str(Path.cwd())} & set(sys.path):
        sys.path.append("")
