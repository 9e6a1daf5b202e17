"""The user's own code: where it is imported from, and which of it a saved config may name."""

import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from ml_collections import config_flags

from score_sde.experiments.code_names import leaves
from score_sde.runtime.trust import Trust, is_code


def patterns_of(allow_code: str | None) -> tuple[str, ...]:
    """The patterns in the value of ``--allow_code``.

    Raises:
        ValueError: where one of them is not a pattern.
    """
    patterns = tuple(part.strip() for part in (allow_code or "").split(",") if part.strip())
    try:
        return Trust.of(patterns).patterns
    except ValueError as error:
        raise ValueError(f"--allow_code: {error}") from error


def trust_of(values: Any) -> Trust:
    """The code that the flags allow, and the code that they name themselves, as
    ``--config.sde.name=mypkg:MySDE``.

    Raises:
        ValueError: where a part of ``--allow_code`` is not a pattern.
    """
    overrides = config_flags.get_override_values(values["config"]) if "config" in values else {}
    typed = tuple(value for _, value in leaves(overrides) if is_code(value))
    return Trust.of((*patterns_of(values.allow_code), *typed))


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
