"""Config files of the 2021 code, its Python files unchanged or their fields as JSON, and
the YAML files of NCSNv2.
"""

import sys
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ml_collections import ConfigDict

from score_sde.cli.config_file import read_config
from score_sde.experiments.loading import config_from_reference
from score_sde.runtime.bounded_reading import read_json, read_yaml


def read_reference_config(name: str) -> ConfigDict:
    """Our config from a config file of the 2021 code or of NCSNv2.

    Args:
        name: a ``.py`` file with ``get_config()``, at its place in a copy of that code,
            since such files import others as ``configs.default_…``; a ``.json`` file
            of fields such as ``{"model.ch_mult": [1, 2], …}``; or a ``.yml`` file of
            NCSNv2.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where the file raises an error, or has fields unknown to this
            package.
    """
    path = Path(name).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"no reference config {name!r}: give a .py or .yml file of the published code, or a "
            ".json file"
        )
    try:
        fields = _READERS.get(path.suffix, _read_python)(path)
        return config_from_reference(fields)
    except (ValueError, TypeError) as error:
        reason = str(error)
        raise ValueError(
            reason if str(path) in reason else f"reference config {path}: {reason}"
        ) from error


def _read_json(path: Path) -> Mapping[str, object]:
    try:
        fields = read_json(path)
    except ValueError:
        raise ValueError("it is not JSON") from None
    return _checked(fields.get("config", fields) if isinstance(fields, Mapping) else fields)


def _read_yaml(path: Path) -> Mapping[str, object]:
    return _checked(read_yaml(path))


def _checked(fields: object) -> Mapping[str, object]:
    if not isinstance(fields, Mapping):
        raise ValueError("it holds no fields such as model.name and training.sde")
    return fields


def _read_python(path: Path) -> ConfigDict:
    with _published_imports(path.resolve()):
        return read_config(str(path))


_READERS: Mapping[str, Callable[[Path], Mapping[str, object] | ConfigDict]] = {
    ".json": _read_json,
    ".yml": _read_yaml,
    ".yaml": _read_yaml,
}
"""The readers by suffix; any other file is Python."""


@contextmanager
def _published_imports(path: Path) -> Iterator[None]:
    """Let a file import its neighbours as ``configs.…``, and import torch where it is
    not installed.
    """
    ours = {
        name: module for name, module in sys.modules.items() if name.partition(".")[0] == "configs"
    }
    for name in ours:
        del sys.modules[name]
    folder = next((parent for parent in path.parents if parent.name == "configs"), path.parent)
    package = types.ModuleType("configs")
    package.__path__ = [str(folder)]
    sys.modules["configs"] = package
    stand_in = "torch" not in sys.modules
    if stand_in:
        sys.modules["torch"] = _torch()
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "configs"]:
            del sys.modules[name]
        sys.modules.update(ours)
        if stand_in:
            del sys.modules["torch"]


def _torch() -> types.ModuleType:
    """The part of torch that published configs use: a device, which is ignored here."""
    torch = types.ModuleType("torch")
    torch.device = str  # type: ignore[attr-defined]
    torch.cuda = types.SimpleNamespace(is_available=lambda: False)  # type: ignore[attr-defined]
    return torch
