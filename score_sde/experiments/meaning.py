"""The meaning of a config: texts that build the same objects have the same one.

A section means the constructor that it chooses, with all of its arguments. As plain values
these are the section itself with every default written out, each key under its present
name, numbers of the type that the constructor takes, and each choice by its name. A config
of an earlier version, which lacks a later key, thus means what it meant.
"""

import dataclasses
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from score_sde.data import FILE_SOURCES, Augmentation, Scaling, source_function
from score_sde.experiments.code_names import named_code
from score_sde.experiments.construction import argument, chosen, with_present_keys
from score_sde.experiments.describe import UnnamedError, name_in, plain_value
from score_sde.experiments.sections import STANDARDIZE
from score_sde.experiments.settings import EvaluationOptions, SamplingOptions, TrainingOptions
from score_sde.experiments.tables import (
    AUGMENTATION,
    AVERAGES,
    NAMED,
    NOT_OF_THE_SOURCE,
    SCALING,
)
from score_sde.runtime.naming import check_arguments
from score_sde.runtime.trust import NOTHING, Trust

OPTIONS: Mapping[str, Callable[..., Any]] = {
    "training": TrainingOptions,
    "eval": EvaluationOptions,
}
"""The sections that have options and no name."""

CHOOSING = ("name", "source")
"""The keys that choose a constructor, on which the other keys depend."""

AVERAGES_KEY = "averages"
"""The key of the section ``training`` whose values are texts such as ``"power:0.05"``."""


def meaning(section: str, values: Any, trust: Trust = NOTHING) -> Any:
    """The meaning of a section, as plain values. Code that is not trusted is not imported.

    >>> meaning("sde", {"name": "ve", "sigma_max": 90})["sigma_max"]
    90.0

    Raises:
        ValueError: where a name or a key is unknown, code is not trusted, or a value is
            of a wrong type.
    """
    if not isinstance(values, Mapping):
        return values
    if section == "data":
        return _meaning_of_data(values, trust)
    if section == "sampling":
        return _meaning_of_sampling(values, trust)
    if section in OPTIONS:
        return _filled(section, OPTIONS[section], values, trust)
    if section == "example":
        return {"conditional": False, **values}
    return _choice(section, values, trust) if section in NAMED else dict(values)


def stated(section: str, values: Any, trust: Trust = NOTHING) -> Any:
    """What a section states besides defaults, in the form of `meaning`. It does not change
    where a default is written out, or a later version has a further key.

    >>> stated("sde", {"name": "ve", "sigma_min": 0.01, "sigma_max": 90})
    {'name': 've', 'sigma_max': 90.0}
    """
    try:
        full = meaning(section, values, trust)
    except ValueError:  # of another version, or code that is not trusted
        return values
    if not isinstance(values, Mapping):
        return full
    found = {key: full[key] for key in CHOOSING if key in full}
    for key in values.keys() - set(CHOOSING):
        rest = {other: value for other, value in values.items() if other != key}
        try:
            without = meaning(section, rest, trust)
        except ValueError:  # the key has no default
            found[key] = full.get(key, values[key])
        else:
            found |= {name: value for name, value in full.items() if without.get(name) != value}
    return found


def differences(
    section: str, first: Any, second: Any, trust: Trust = NOTHING
) -> Iterator[tuple[str, Any, Any]]:
    """Each key in which two sections differ in meaning, and both values, as they are
    written where they are. A name comes first, since other keys depend on it.

    >>> list(differences("sde", {"name": "vp", "beta_max": 20}, {"name": "vp"}))
    []
    >>> list(differences("sde", {"name": "vp", "beta_max": 10.0}, {"name": "vp"}))
    [('sde.beta_max', 10.0, 20.0)]
    """
    if first == second:
        return
    try:
        both = meaning(section, first, trust), meaning(section, second, trust)
    except ValueError:  # of another version, or code that is not trusted
        both = first, second
    yield from _differences(section, both, (first, second))


def trust_in_code_of(config: Mapping[str, Any]) -> Trust:
    """Trust in the code that a config names, for a config that may name any."""
    return Trust(patterns=tuple(name for _, name in named_code(config)))


def _differences(
    path: str, meant: tuple[Any, Any], written: tuple[Any, Any]
) -> Iterator[tuple[str, Any, Any]]:
    first, second = meant
    if first == second:
        return
    if not isinstance(first, Mapping) or not isinstance(second, Mapping):
        was, now = written
        yield path, first if was is None else was, second if now is None else now
        return
    chosen_first = sorted(first.keys() | second.keys(), key=lambda key: (key not in CHOOSING, key))
    for key in chosen_first:
        was, now = (each.get(key) if isinstance(each, Mapping) else None for each in written)
        yield from _differences(f"{path}.{key}", (first.get(key), second.get(key)), (was, now))


def _choice(section: str, values: Mapping[str, Any], trust: Trust) -> dict[str, Any]:
    """The meaning of a section whose name chooses a constructor."""
    function, name, rest = chosen(section, values, NAMED[section], trust)
    with suppress(UnnamedError):
        name = name_in(NAMED[section], function)
    given = ("shape",) if section == "model" else ()
    return {"name": name, **_filled(section, function, rest, trust, given)}


def _meaning_of_sampling(values: Mapping[str, Any], trust: Trust) -> dict[str, Any]:
    shared = _keys(SamplingOptions)
    drawing = {key: value for key, value in values.items() if key in shared}
    sampler = {key: value for key, value in values.items() if key not in shared}
    found = _choice("sampling", sampler, trust)
    return {**_filled("sampling", SamplingOptions, drawing, trust), **found}


def _meaning_of_data(values: Mapping[str, Any], trust: Trust) -> dict[str, Any]:
    name = values.get("source")
    if not isinstance(name, str):
        return dict(values)
    function, arguments = source_function(name, trust)
    own = {key: value for key, value in values.items() if key not in ("source", *NOT_OF_THE_SOURCE)}
    found = {STANDARDIZE: False, **_filled("data", function, own, trust, arguments)}
    for keys, constructor in ((SCALING, Scaling), (AUGMENTATION, Augmentation)):
        some = {key: values[key] for key in keys if key in values}
        found |= _filled("data", constructor, some, trust, _keys(constructor) - set(keys))
    if STANDARDIZE in values:
        found[STANDARDIZE] = values[STANDARDIZE]
    if "path" in found:
        found["path"] = _place(found["path"])
    head, colon, tail = name.partition(":")
    return {**found, "source": f"{head}:{_place(tail)}" if colon and head in FILE_SOURCES else name}


def _place(path: Any) -> Any:
    """A path of data in one form; anything else, such as the name of a data set, unchanged."""
    place = Path(path).expanduser() if isinstance(path, str) else None
    return str(place.resolve()) if place is not None and place.exists() else path


def _filled(
    section: str,
    function: Callable[..., Any],
    values: Mapping[str, Any],
    trust: Trust,
    given: Collection[str] = (),
) -> dict[str, Any]:
    """All arguments of a function that a section gives or leaves at their defaults, as
    plain values, without ``given``.
    """
    values = with_present_keys(section, function, values)
    arguments = {key: argument(section, key, value, trust) for key, value in values.items()}
    arguments = check_arguments(section, function, arguments, given=given)
    defaults = {
        key: parameter.default
        for key, parameter in inspect.signature(function).parameters.items()
        if key not in given and parameter.default is not inspect.Parameter.empty
    }
    found = {}
    for key, value in {**defaults, **arguments}.items():
        try:
            found[key] = _plain(section, key, value)
        except UnnamedError:  # an object of the user's own
            if key in values:
                found[key] = values[key]
    return found


def _plain(section: str, key: str, value: Any) -> Any:
    if key == AVERAGES_KEY:
        return [
            {"name": name_in(AVERAGES, type(each)), **dataclasses.asdict(each)} for each in value
        ]
    return plain_value(section, key, value)


def _keys(function: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(function).parameters)
