"""The code that a config names, found before any name is looked up."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from score_sde.data import is_function
from score_sde.experiments.sections import SECTIONS
from score_sde.experiments.tables import FUNCTIONS, VALUES
from score_sde.runtime.trust import Trust, is_code, untrusted

Keys: TypeAlias = tuple[str, ...]
"""The keys that lead to a value of a config."""

CHOICES = {"name", *FUNCTIONS, *VALUES}
"""The keys whose values are looked up in a table, in any section."""


def check_code(
    config: Any, trust: Trust, source: str, *, sections: Sequence[str] = SECTIONS
) -> None:
    """Raise ``ValueError`` where a config names code that is not trusted, before any of
    it is imported.

    Args:
        config: the sections of the config, unchecked.
        trust: the code that it may name.
        source: the file or folder of the config, for the message.
        sections: the sections that will be built.
    """
    if not isinstance(config, Mapping):
        found = type(config).__name__
        raise ValueError(f"{source} has no config: there is a value of type {found} instead")
    chosen = {section: config[section] for section in sections if section in config}
    if found := [(path, name) for path, name in named_code(chosen) if not trust.allows(name)]:
        raise ValueError(untrusted(found, source))


def named_code(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each ``"package.module:Name"`` of a config, with its section and key.

    Paths, data sets and averages such as ``"power:0.05"`` may have a colon and are not
    code.
    """
    for path, value in leaves(config):
        if _is_choice(path, value) and is_code(value):
            yield ".".join(path), value


def _is_choice(path: Keys, value: Any) -> bool:
    if path[0] == "data":
        return path == ("data", "source") and isinstance(value, str) and is_function(value)
    return path[-1] in CHOICES or path == ("training", "trackers")


def leaves(config: Mapping[str, Any]) -> Iterator[tuple[Keys, Any]]:
    """All values of a config, with the keys that lead to them; elements of lists one by one."""
    # Without recursion, since a foreign file may be nested to any depth.
    waiting: list[tuple[Keys, Any]] = [
        ((str(key),), value) for key, value in reversed(list(config.items()))
    ]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting.extend(((*path, str(key)), item) for key, item in reversed(list(value.items())))
        elif isinstance(value, list | tuple):
            waiting.extend((path, item) for item in reversed(value))
        else:
            yield path, value
