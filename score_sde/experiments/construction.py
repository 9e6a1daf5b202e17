"""From a section of a config to an object, by the tables of names."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from score_sde import checks, solvers
from score_sde.experiments.tables import (
    AVERAGES,
    FORMER_KEYS,
    FUNCTIONS,
    NAMED,
    OPTIONAL,
    VALUES,
    Table,
)
from score_sde.runtime.naming import check_arguments, errors_of, from_text, lookup
from score_sde.runtime.trust import EVERYTHING, Trust


def construct(
    section: str, kind: type, values: Any, *, trust: Trust = EVERYTHING, **given: Any
) -> Any:
    """The object of a section: the constructor that its ``name`` chooses, called with
    its other keys and ``given``.

    The values may name any code unless ``trust`` restricts it.

    Raises:
        ValueError: where the name or a key is unknown, or the object is not of the
            class ``kind``.
    """
    function, name, rest = chosen(section, values, NAMED[section], trust)
    found = call(section, function, rest, trust=trust, name=name, **given)
    checks.require(
        isinstance(found, kind),
        f"{section} {name!r:.200} gives {type(found).__name__} where {kind.__name__} is expected",
    )
    return found


def call(
    section: str,
    function: Callable[..., Any],
    values: Mapping[str, Any],
    *,
    trust: Trust,
    name: Any = None,
    **given: Any,
) -> Any:
    """A function called with the values of a section and with ``given``.

    Raises:
        ValueError: where a key is unknown, or a value of a wrong type or out of range.
    """
    values = with_present_keys(section, function, values)
    arguments = {key: argument(section, key, value, trust) for key, value in values.items()}
    arguments = check_arguments(section, function, arguments, given=given, name=name)
    with errors_of(section, TypeError):
        return function(**given, **arguments)


def with_present_keys(
    section: str, function: Callable[..., Any], values: Mapping[str, Any]
) -> Mapping[str, Any]:
    """The values with each renamed key of ``function`` under its present name."""
    present = next((keys for made, keys in FORMER_KEYS.items() if made is function), {})
    for former in present.keys() & values.keys():
        checks.require(
            present[former] not in values,
            f"{section}.{former} is the former name of {section}.{present[former]}: give "
            f"{present[former]} alone",
        )
    return {present.get(key, key): value for key, value in values.items()}


def argument(section: str, key: str, value: Any, trust: Trust) -> Any:
    """A value of a config as the constructor takes it. Names of functions and nested
    sections are looked up in their tables.
    """
    if key == "grid" and isinstance(value, list):
        return call(f"{section}.{key}", solvers.Nodes, {"times": value}, trust=trust)
    if key == "averages":
        if not isinstance(value, list):
            right = "a tuple of texts such as ('power:0.05','power:0.1')"
            checks.fail(f"{section}.{key}", value, right)
        return tuple(from_text(f"{section}.{key}", text, AVERAGES) for text in value)
    if key in FUNCTIONS:
        return _function(f"{section}.{key}", value, FUNCTIONS[key], trust)
    if key in VALUES and f"{section}.{key}" in NAMED:
        values = {"name": value} if isinstance(value, str) else value
        if key in OPTIONAL and values in (None, {"name": "none"}):
            return None
        return construct(f"{section}.{key}", VALUES[key][1], values, trust=trust)
    return tuple(value) if isinstance(value, list) else value


def _function(path: str, value: Any, table: Table, trust: Trust) -> Callable[..., Any]:
    """The function of a name, or of a section with a name and parameters."""
    values = value if isinstance(value, Mapping) else {"name": value}
    function, name, parameters = chosen(path, values, table, trust)
    if isinstance(function, type):  # a class of another package, not its value
        return call(path, function, parameters, trust=trust, name=name)
    if not parameters:
        return function
    checks.require(
        dataclasses.is_dataclass(function),
        f"{path} {name!r:.200} is a function without parameters, got {', '.join(parameters)}",
    )
    # The parameters change the value of the table, not the defaults of its class.
    own = {
        field.name: getattr(function, field.name)
        for field in dataclasses.fields(function)
        if getattr(function, field.name) != field.default
    }
    return call(path, type(function), {**own, **parameters}, trust=trust, name=name)


def chosen(
    path: str, values: Any, table: Table, trust: Trust
) -> tuple[Any, Any, Mapping[str, Any]]:
    """The entry of a table that ``values["name"]`` chooses, that name, and the other values."""
    if not isinstance(values, Mapping) or "name" not in values:
        raise ValueError(f"{path} needs a name: one of {', '.join(table)}, or package.module:Name")
    rest = {key: value for key, value in values.items() if key != "name"}
    return lookup(path, values["name"], table, trust=trust), values["name"], rest
