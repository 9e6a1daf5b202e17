"""The keys of a section that an override of its name makes meaningless."""

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from score_sde.data import is_function, source_options
from score_sde.experiments.settings import SamplingOptions
from score_sde.experiments.tables import FUNCTIONS, NAMED, NOT_OF_THE_SOURCE, Table
from score_sde.runtime.naming import lookup
from score_sde.runtime.trust import EVERYTHING

_TABLES: Mapping[str, Table] = {
    **{f"{section}.{key}": FUNCTIONS[key] for section in NAMED for key in FUNCTIONS},
    **NAMED,
}
"""The tables from which the names of sections are chosen."""

CHOSEN_FOR_ONE = {"sampling": {"grid"}}
"""Keys whose values suit only one name: a good grid of one sampler can ruin another."""


def drop_leftovers(config: dict[str, Any], before: Mapping[str, Any], given: Iterable[str]) -> None:
    """Remove the keys that belong to the earlier name of a section: keys that the new
    name does not have, and `CHOSEN_FOR_ONE`.

    The name of the section ``data`` is its source. If the earlier name is code outside
    this package, it is not imported, and all keys of its section count as its own. A
    source takes no option of such code, which may mean another thing by the same name.

    Args:
        config: the config, after overrides of names. It is changed in place.
        before: the config before the overrides.
        given: keys that were overridden, such as ``sampling.num_steps``, and sections.
            They stay.
    """
    given = set(given)
    for path in (*_TABLES, "data"):
        old, new = _section(before, path), _section(config, path)
        chosen = "source" if path == "data" else "name"
        if old and new and path not in given and old.get(chosen) != new.get(chosen):
            foreign = path == "data" and _is_code(old.get(chosen))
            kept = set() if foreign else _keys(path, new.get(chosen))
            kept -= CHOSEN_FOR_ONE.get(path, set())
            for key in _keys_left_by(path, old, chosen) - kept:
                if key in new and f"{path}.{key}" not in given:
                    del new[key]


def _section(config: Any, path: str) -> Any:
    for part in path.split("."):
        config = config.get(part) if isinstance(config, Mapping) else None
    return config if isinstance(config, Mapping) else None


def _keys_left_by(path: str, section: Any, chosen: str) -> set[str]:
    """The keys of a section that belong to its name."""
    name = section.get(chosen)
    if path == "data" and not _is_code(name):
        return _keys(path, name)
    if name in (None, "none") or (isinstance(name, str) and name in _TABLES.get(path, ())):
        return _keys(path, name)
    shared = {
        "data": NOT_OF_THE_SOURCE,
        "sampling": tuple(inspect.signature(SamplingOptions).parameters),
    }
    return set(section) - {chosen, *shared.get(path, ())}


def _is_code(source: Any) -> bool:
    """Whether a source of data is a function outside this package."""
    return isinstance(source, str) and is_function(source)


def _keys(path: str, name: Any) -> set[str]:
    """The keys that a name takes."""
    if name in (None, "none"):
        return set()
    if path == "data":
        return source_options(name) if isinstance(name, str) else set()
    found = lookup(path, name, _TABLES[path], trust=EVERYTHING)
    if path in NAMED or isinstance(found, type):
        return set(inspect.signature(found).parameters)
    # A function without parameters, or a value with its own: `MinSNR()`.
    return {each.name for each in fields(found)} if is_dataclass(found) else set()
