"""Names and keyword arguments that people write in configs: looked up, checked, and
explained where they are wrong.
"""

import ast
import contextlib
import difflib
import importlib
import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from score_sde import checks
from score_sde.runtime.moved import MOVED, RENAMED
from score_sde.runtime.resources import lack_of_memory
from score_sde.runtime.trust import Trust, is_code


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``, did you mean 'x'?`` for the nearest known name, or nothing where none is near."""
    close = difflib.get_close_matches(name, list(known), 1)
    return f", did you mean {close[0]!r:.200}?" if close else ""


def lookup(kind: str, name: Any, table: Mapping[str, Any], *, trust: Trust) -> Any:
    """The entry of ``table`` called ``name``, or the object of a dotted
    ``"package.module:Name"`` that is trusted.

    Raises:
        ValueError: where there is no such entry; it suggests the nearest and lists all.
            And as for `imported`.
    """
    if isinstance(name, str) and name in table:
        return table[name]
    if isinstance(name, str) and ":" in name:
        return imported(kind, name, table, trust=trust)
    known = f"known: {', '.join(table)}, or package.module:Name"
    raise ValueError(f"unknown {kind} {name!r:.200}{did_you_mean(str(name), table)}; {known}")


def imported(kind: str, name: str, known: Iterable[str] = (), *, trust: Trust) -> Any:
    """The object that a dotted ``"package.module:Name"`` names; ``known`` are the plain
    names that may have been meant.

    Nothing else imports what a config names. ``trust`` says which modules may be.

    Raises:
        ValueError: where the name is not trusted, which is found out before anything is
            imported; where there is no such module or object, or the module cannot be
            imported.
    """
    name = RENAMED.get(name, name)
    module_name, _, attribute = name.partition(":")
    hint = did_you_mean(module_name, known)
    if not is_code(name):
        raise ValueError(
            f"unknown {kind} {name!r:.200}{hint}; known: "
            f"{', '.join([*known, 'package.module:Name'])}"
        )
    trust.check(kind, name)
    if moved := _moved(module_name, attribute):
        if not moved.__module__.startswith("score_sde."):
            trust.check_definition(kind, name, moved)
        return moved
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the code of a module may raise
        if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(
            f"{error.name}."
        ):
            raise ValueError(
                f"{kind} {name!r:.200}: no module {module_name!r:.200}{hint}"
            ) from error
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(
            f"{kind} {name!r:.200}: module {module_name!r:.200} cannot be imported ({reason})"
        ) from error
    if not callable(found := getattr(module, attribute, None)):
        hint = did_you_mean(
            attribute, [key for key, value in vars(module).items() if callable(value)]
        )
        raise ValueError(
            f"{kind} {name!r:.200}: module {module_name!r:.200} has no function or class "
            f"{attribute!r:.200}{hint}"
        )
    trust.check_definition(kind, name, found)
    return found


def _moved(module: str, attribute: str) -> Any:
    """A function or class of a module of version 0.1: where it was if it is still there,
    else where it is now.
    """
    if module not in MOVED:
        return None
    for place in (module, *MOVED[module]):
        with contextlib.suppress(ModuleNotFoundError):
            found = getattr(importlib.import_module(place), attribute, None)
            if callable(found):
                return found
    return None


def check_arguments(
    section: str,
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    given: Iterable[str] = (),
    *,
    name: Any = None,
) -> dict[str, Any]:
    """The keyword arguments; an ``int`` becomes a ``float`` where the function takes one.

    ``given`` names parameters that the caller fills; ``name`` is the name in the config
    that chose the function. Annotations other than plain Python types are not checked.

    Raises:
        ValueError: where ``function`` has no such parameter, takes another type, or
            needs a parameter that is missing.
    """
    title = section if name is None else f"{section} {name!r:.200}"
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return dict(arguments)
    known = [key for key in parameters if key not in given]
    for key, value in arguments.items():
        if key not in known:
            keys = ", ".join(known) or "none"
            raise ValueError(
                f"{title} has no key {key!r:.200}{did_you_mean(key, known)}; keys: {keys}"
            )
        if not fits(value, annotation := parameters[key].annotation):
            checks.fail(f"{section}.{key}", value, describe(annotation))
    missing = [
        key
        for key in known
        if parameters[key].default is inspect.Parameter.empty and key not in arguments
    ]
    checks.require(not missing, f"{title} needs {', '.join(missing)}")
    return {
        key: _as_annotated(value, parameters[key].annotation) for key, value in arguments.items()
    }


@contextlib.contextmanager
def errors_of(section: str, *kinds: type[Exception]) -> Iterator[None]:
    """Raise the errors that the values of a section cause as ``ValueError``, with the
    name of the section in front.

    A message ``snr=-1 must be …`` becomes ``sampling.snr=-1 must be …``, and any other
    ``sampling: …``. Caught are values out of range, a lack of memory, and errors of
    further ``kinds``.
    """
    try:
        yield
    except (ValueError, OverflowError, MemoryError, RuntimeError, *kinds) as error:
        lack = lack_of_memory(error)
        if isinstance(error, RuntimeError) and lack is None:
            raise
        raise ValueError(in_section(section, lack or str(error))) from error


def in_section(section: str, message: str) -> str:
    """A message with the name of its section in front, unless it begins with that."""
    if re.match(rf"{re.escape(section)}(?!\w)", message):
        return message
    named = re.match(r"[A-Za-z_]\w*=", message)
    return f"{section}.{message}" if named else f"{section}: {message}"


def from_text(section: str, text: Any, table: Mapping[str, Callable[..., Any]]) -> Any:
    """The value that a text ``"NAME:VALUE"`` describes: the function ``NAME`` of a table,
    called with ``VALUE`` as its first argument. Others follow as ``,key=value``.

    Raises:
        ValueError: where the name, a key or a value is wrong; the line contains the
            text.
    """
    name, colon, rest = text.partition(":") if isinstance(text, str) else ("", "", "")
    if not colon:
        checks.fail(section, text, f"NAME:VALUE, with NAME one of {', '.join(table)}")
    checks.require(
        name in table,
        f"unknown {section} {text!r:.200}{did_you_mean(name, table)}; known: {', '.join(table)}",
    )
    function = table[name]
    first = next(iter(inspect.signature(function).parameters))
    arguments: dict[str, Any] = {}
    for number, part in enumerate(rest.split(",")):
        key, equals, value = part.rpartition("=")
        key = key.strip() or first
        if bool(equals) != bool(number) or key in arguments:
            checks.fail(section, text, f"{name}:VALUE and then, after commas, key=value once each")
        arguments[key] = _literal(value.strip())
    arguments = check_arguments(section, function, arguments, name=text)
    try:
        return function(**arguments)
    except ValueError as error:
        raise ValueError(f"{section} {text!r:.200}: {error}") from error


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def fits(value: Any, annotation: Any) -> bool:
    """Whether ``value`` is of a plain Python type; true for annotations that say nothing plain."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return value in arguments
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, argument) for argument in arguments)
    if origin in (tuple, list, Sequence):
        return isinstance(value, (tuple, list)) and all(fits(item, arguments[0]) for item in value)
    if annotation is float:
        return (
            isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        )
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if annotation in (str, bool, types.NoneType):
        return isinstance(value, annotation)
    return True


def describe(annotation: Any) -> str:
    """A plain annotation in words: ``a whole number``, ``one of 'a', 'b'``."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return "one of " + ", ".join(repr(argument) for argument in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe(argument) for argument in arguments)
    if origin in (tuple, list, Sequence):
        return f"a sequence, each {describe(arguments[0])}"
    words = {
        float: "a finite number",
        int: "a whole number",
        str: "a string",
        bool: "True or False",
        types.NoneType: "None",
    }
    return words.get(annotation, str(annotation))


def _as_annotated(value: Any, annotation: Any) -> Any:
    wants_float = annotation is float or float in typing.get_args(annotation)
    wants_int = annotation is int or int in typing.get_args(annotation)
    return float(value) if wants_float and not wants_int and type(value) is int else value
