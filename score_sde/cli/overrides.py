"""Overrides ``--config.section.key=value`` of a config.

Every value can be changed to a value of any type: the constructor that takes it says
which it accepts.
"""

import ast
import contextlib
import copy
import re
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from score_sde import checks
from score_sde.cli.allowed_code import trust_of
from score_sde.cli.flags import Values
from score_sde.cli.leftovers import drop_leftovers
from score_sde.cli.own_code import look_in_current_folder
from score_sde.experiments.code_names import check_code, named_code
from score_sde.experiments.sections import SECTIONS
from score_sde.experiments.tables import FUNCTIONS, VALUES
from score_sde.runtime.bounded_reading import check_tree, parsed_json
from score_sde.runtime.naming import did_you_mean

_BOOLEANS = {"true": True, "false": False}
_SHORT = {"t": True, "1": True, "f": False, "0": False}
"""The words for True and False, the short ones only for a key that is True or False."""

_CHOICES = {*FUNCTIONS, *VALUES}
"""The keys whose value is a name, or a section with a name and its parameters."""


class Overridden(NamedTuple):
    """A config after its overrides.

    Attributes:
        config: its sections, as plain dictionaries.
        given: the overrides, such as ``{"sampling.num_steps": 50}``.
        rest: the arguments that are no overrides.
    """

    config: dict[str, Any]
    given: dict[str, Any]
    rest: list[str]


def override(config: Mapping[str, Any], argv: Sequence[str]) -> Overridden:
    """The config with the overrides among the arguments.

    >>> override({"sde": {"name": "vp", "t_min": 0.01}}, ["--config.sde.t_min=1e-3"]).config
    {'sde': {'name': 'vp', 't_min': 0.001}}

    Raises:
        ValueError: where an override names no section of the config, or has no value.
    """
    found, given, rest = copy.deepcopy(dict(config)), {}, []
    waiting = deque(argv)
    while waiting:
        argument = waiting.popleft()
        if argument == "--":
            rest += [argument, *waiting]
            break
        if not re.match(r"--?(no)?config\.", argument):
            rest.append(argument)
            continue
        flag, equals, text = argument.lstrip("-").partition("=")
        path = _path(flag.removeprefix("no"))
        section, current = _place(found, path)
        if flag.startswith("no"):
            checks.require(not equals, f"--{flag} takes no value")
            value: Any = False
        elif not equals and _is_switch(current, waiting):
            value = True
        else:
            text = text if equals else _next(flag, waiting)
            value = _value(flag, text, current, path)
        key = ".".join(path)
        for longer in given:
            checks.require(
                not longer.startswith(f"{key}."),
                f"--{flag} comes after --config.{longer} and would overwrite it: give --{flag} "
                "first",
            )
        section[path[-1]] = given[key] = value
    return Overridden(found, given, rest)


def settle(values: Values, before: Mapping[str, Any]) -> None:
    """Check the code that the config names after its overrides, and remove the keys
    that an override of a name has made meaningless.

    Args:
        values: the values of the flags. Their config is changed in place.
        before: the config before the overrides.

    Raises:
        ValueError: where a foreign config names code that the flags do not allow.
    """
    is_foreign = values.foreign is not None
    if is_foreign:
        check_code(values.config, trust_of(values), values.foreign)
    if any(named_code(values.config)) or (is_foreign and values.allow_code):
        look_in_current_folder()
    drop_leftovers(values.config, before, values.overrides)


def _path(flag: str) -> list[str]:
    """The keys of ``config.section.key``."""
    keys = flag.split(".")[1:]
    checks.require(
        all(key.isidentifier() for key in keys),
        f"unknown flag --{flag}: an override is --config.section.key=value",
    )
    checks.require(
        keys[0] in SECTIONS,
        f"--{flag}: the config has no section {keys[0]!r}{did_you_mean(keys[0], SECTIONS)}; "
        f"sections: {', '.join(SECTIONS)}",
    )
    return keys


def _place(config: dict[str, Any], path: Sequence[str]) -> tuple[dict[str, Any], Any]:
    """The section of a key, and its present value.

    A missing section is made. A name becomes a section where it may have parameters:
    ``"min_snr"`` is short for ``{"name": "min_snr"}``.
    """
    section = config
    for number, key in enumerate(path[:-1], start=1):
        value = section.get(key)
        if value is None:
            section[key] = {}
        elif isinstance(value, str) and key in _CHOICES:
            section[key] = {"name": value}
        elif not isinstance(value, dict):
            raise ValueError(
                f"--config.{'.'.join(path)}: {'.'.join(path[:number])} is not a section but "
                f"{value!r:.200}"
            )
        section = section[key]
    return section, section.get(path[-1])


def _is_switch(current: Any, waiting: Sequence[str]) -> bool:
    """Whether ``--config.data.flip`` alone means True."""
    return isinstance(current, bool) or (
        current is None and (not waiting or waiting[0].startswith("-"))
    )


def _next(flag: str, waiting: deque[str]) -> str:
    checks.require(waiting and not waiting[0].startswith("--"), f"--{flag} has no value")
    return waiting.popleft()


def _value(flag: str, text: str, current: Any, path: Sequence[str]) -> Any:
    """The value of a text: None, or a literal of Python, or the text itself. The present
    value decides where a text can be read in two ways.
    """
    if isinstance(current, dict) and len(path) == 1:
        literal = _literal(text)
        if not isinstance(literal, dict):
            right = "a section such as \"{'name': 'heun', 'num_steps': 50}\""
            raise ValueError(f"--{flag}={text:.200} must be {right}")
        return literal
    if isinstance(current, str):
        literal = _literal(text)
        return literal if isinstance(literal, dict | list | tuple | None) else text
    checks.require(text, f"--{flag} has no value")
    words = _BOOLEANS | _SHORT if isinstance(current, bool) else _BOOLEANS
    if isinstance(current, bool | None) and text.lower() in words:
        return words[text.lower()]
    if isinstance(current, int | float) and text != "None":
        return _number(flag, text, current)
    literal = _literal(text)
    if isinstance(current, list | tuple) and literal is not None:
        return tuple(literal) if isinstance(literal, list | tuple) else (literal,)
    return literal


def _number(flag: str, text: str, current: float | int) -> Any:
    """A number of the type of the present one if it is one: ``1e3`` may be an integer, and
    ``1`` a float. A bare word is found wrong before any parameters are read; another
    type of value is a literal.
    """
    if isinstance(current, int):
        with contextlib.suppress(ValueError):
            return int(text)
    try:
        found = float(text)
    except ValueError:
        literal = _literal(text)
        right = "an integer" if isinstance(current, int) else "a number"
        checks.require(literal is not text, f"--{flag}={text:.200} must be {right}")
        return literal
    return int(found) if isinstance(current, int) and found.is_integer() else found


def _literal(text: str) -> Any:
    """A literal of Python or a section in JSON, or else the text."""
    try:
        found = ast.literal_eval(text)
        check_tree(found, len(text) + 1)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        try:
            return parsed_json(text) if text[:1] in ("{", "[") else text
        except ValueError:
            return text
    return found
