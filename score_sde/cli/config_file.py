"""Config files, found by path or by the name of a config of this package."""

import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

import score_sde.configs
from score_sde import checks
from score_sde.cli.own_code import look_in_current_folder
from score_sde.runtime.naming import did_you_mean

PUBLISHED = Path(score_sde.configs.__file__).parent


def find_config(name: str) -> Path:
    """The file of ``FILE`` or ``FILE.py:TEXT``: a path, or the name of a config of this package.

    Raises:
        FileNotFoundError: where there is no such file; it suggests the nearest name.
    """
    head = name.partition(":")[0]
    given = Path(head).expanduser()
    for path in (given, PUBLISHED / f"{head.removeprefix('configs/').removesuffix('.py')}.py"):
        if path.is_file():
            return path
    raise FileNotFoundError(f"no config file {head!r}{did_you_mean(head, _near(given))}")


def read_config(name: str) -> ConfigDict:
    """The config that ``get_config()`` of a file returns; ``FILE.py:TEXT`` calls
    ``get_config(TEXT)``.

    Raises:
        FileNotFoundError: where there is no such file; it suggests the nearest name.
        ValueError: where the file raises an error or does not return a config.
    """
    path, texts = find_config(name), name.split(":", 1)[1:]
    if PUBLISHED not in path.resolve().parents:
        look_in_current_folder()  # for the imports of a file of the user's own
    try:
        namespace: dict[str, Any] = {"__name__": "config", "__file__": str(path)}
        exec(compile(path.read_bytes(), str(path), "exec"), namespace)
        checks.require("get_config" in namespace, "it has no function get_config()")
        config = namespace["get_config"](*texts)
    except Exception as error:  # whatever the code of a user may raise
        raise ValueError(f"config file {path}{_line(error, path)}: {_reason(error)}") from error
    if isinstance(config, Mapping):
        config = ConfigDict(dict(config))
    if not isinstance(config, ConfigDict):
        raise ValueError(
            f"config file {path}: get_config() returned {config!r} where a ConfigDict is expected"
        )
    return config


def _near(path: Path) -> list[str]:
    """The names of config files, for suggestions: files beside the path, and the configs
    of this package by path and by name.
    """
    beside = [str(file) for file in sorted(path.parent.glob("*.py")) if file.is_file()]
    files = [
        file.relative_to(PUBLISHED)
        for file in sorted(PUBLISHED.rglob("*.py"))
        if file.stem != "__init__"
    ]
    return [
        *beside,
        *(f"configs/{file}" for file in files),
        *(str(file.with_suffix("")) for file in files),
    ]


def _line(error: Exception, path: Path) -> str:
    """The line of the file in which an error arose."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(path)
    ]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines.append(error.lineno)
    return f", line {lines[-1]}" if lines and lines[-1] else ""


def _reason(error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return error.msg
    text: Any = error
    # ConfigDict quotes the text of one such error in another.
    while isinstance(text, AttributeError | KeyError) and text.args:
        text = text.args[0]
    words = re.sub(r"<class '(\w+)'>", r"\1", str(text))
    return words if type(error) is ValueError else f"{type(error).__name__}: {words}"
