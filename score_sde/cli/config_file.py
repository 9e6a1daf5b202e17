"""Config files, found by path or by the name of a config of this package."""

import contextlib
import re
import sys
import traceback
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

import score_sde.configs
from score_sde import checks
from score_sde.cli.own_code import look_in_current_folder
from score_sde.runtime.naming import did_you_mean

PUBLISHED = Path(score_sde.configs.__file__).parent

DATA = (".json", ".yml", ".yaml")
"""The suffixes of configs that are data: the first is ours, the others are of NCSNv2."""


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
        with _module_of(path) as namespace:
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


@contextlib.contextmanager
def _module_of(path: Path) -> Iterator[dict[str, Any]]:
    """The namespace in which a file runs: of a module, as dataclasses look up the module
    of their annotations. It has a name that no import statement can have.
    """
    module = types.ModuleType(f"config file {path}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    try:
        yield vars(module)
    finally:
        del sys.modules[module.__name__]


def read_resolved(path: Path) -> Mapping[str, Any]:
    """The config in a JSON file of this program: the ``config.json`` of a run, or the
    ``model.json`` of an exported model.

    Raises:
        ValueError: where the file holds no config.
    """
    from score_sde.experiments.sections import with_former_options
    from score_sde.runtime.bounded_reading import read_json

    try:
        found = read_json(path)
    except ValueError as error:
        raise ValueError(f"config file {path} is not JSON: {error}") from None
    found = found.get("config", found) if isinstance(found, Mapping) else found
    checks.require(
        isinstance(found, Mapping) and "sde" in found,
        f"config file {path}: it has no sections such as sde, as the config.json of a run has",
    )
    return with_former_options(found)


def _near(path: Path) -> list[str]:
    """The names of config files, for suggestions: files beside the path, and the configs
    of this package by path and by name.
    """
    beside = [
        str(file)
        for file in sorted(path.parent.glob("*"))
        if file.suffix in (".py", *DATA) and file.is_file()
    ]
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
