"""The keys that an override of a section's name makes pointless."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from score_sde.data import is_function, source_options
from score_sde.experiments.settings import SamplingOptions
from score_sde.experiments.tables import NAMED, NOT_OF_THE_SOURCE
from score_sde.runtime.naming import lookup
from score_sde.runtime.trust import EVERYTHING

CHOSEN_FOR_ONE = {"sampling": {"grid"}}
"""Keys that suit the name they were chosen for: a grid that is good for one sampler can
ruin another.
"""


def drop_leftovers(config: ConfigDict, before: Mapping[str, Any], given: Iterable[str]) -> None:
    """Take away what belongs to an earlier name of a section: keys that the new name
    has not, or `CHOSEN_FOR_ONE`.

    The name of the section ``data`` is its source. Code that only the earlier name
    refers to is not imported: all keys of its section are then taken to belong to it.

    Args:
        config: the config to change, in which sections may have got other names.
        before: the config as it was.
        given: the keys, such as ``sampling.num_steps``, and sections that were set on
            purpose and stay.
    """
    given = set(given)
    for path in (*NAMED, "data"):
        old, new = _section(before, path), _section(config, path)
        chosen = "source" if path == "data" else "name"
        if old and new and path not in given and old.get(chosen) != new.get(chosen):
            kept = _keys(path, new.get(chosen)) - CHOSEN_FOR_ONE.get(path, set())
            for key in _keys_left_by(path, old, chosen) - kept:
                if key in new and f"{path}.{key}" not in given:
                    del new[key]


def _section(config: Any, path: str) -> Any:
    for part in path.split("."):
        config = config.get(part) if isinstance(config, Mapping | ConfigDict) else None
    return config if isinstance(config, Mapping | ConfigDict) else None


def _keys_left_by(path: str, section: Any, chosen: str) -> set[str]:
    """The keys of a section that belong to the name in it."""
    name = section.get(chosen)
    if path == "data" and not (isinstance(name, str) and is_function(name)):
        return _keys(path, name)
    if name in (None, "none") or (isinstance(name, str) and name in NAMED.get(path, ())):
        return _keys(path, name)
    shared = {
        "data": NOT_OF_THE_SOURCE,
        "sampling": tuple(inspect.signature(SamplingOptions).parameters),
    }
    return set(section) - {chosen, *shared.get(path, ())}


def _keys(path: str, name: Any) -> set[str]:
    """The keys that a name of the caller's own choice takes."""
    if name in (None, "none"):
        return set()
    if path == "data":
        return source_options(name) if isinstance(name, str) else set()
    return set(inspect.signature(lookup(path, name, NAMED[path], trust=EVERYTHING)).parameters)
