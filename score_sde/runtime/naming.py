"""Names and keyword arguments in configs: lookup, checks, and explanations of errors."""

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
    """``, did you mean 'x'?`` for the most similar known name, or nothing.

    >>> did_you_mean("heum", ["heun", "ddim"])
    ", did you mean 'heun'?"
    """
    close = difflib.get_close_matches(name, list(known), 1)
    return f", did you mean {close[0]!r:.200}?" if close else ""


def lookup(kind: str, name: Any, table: Mapping[str, Any], *, trust: Trust) -> Any:
    """The entry of ``table`` called ``name``, or the object of a dotted
    ``"package.module:Name"`` that is trusted.

    Raises:
        ValueError: where there is no such entry; it suggests the most similar and lists
            all. Also where `imported` raises it.
    """
    if isinstance(name, str) and name in table:
        return table[name]
    if isinstance(name, str) and ":" in name:
        return imported(kind, name, table, trust=trust)
    known = f"known: {', '.join(table)}, or package.module:Name"
    raise ValueError(f"unknown {kind} {name!r:.200}{did_you_mean(str(name), table)}; {known}")


def imported(kind: str, name: str, known: Iterable[str] = (), *, trust: Trust) -> Any:
    """The function or class with the dotted name ``"package.module:Name"``.

    All code that a config names is imported here, if ``trust`` allows it.

    Args:
        kind: the kind of object, for messages.
        name: the dotted name.
        known: the plain names of this kind, for suggestions.
        trust: the code that may be imported.

    Raises:
        ValueError: where the name is not trusted, which is checked before anything is
            imported; where there is no such module or object, or the module cannot be
            imported.
    """
    name = RENAMED.get(name, name)
    module_name, _, attribute = name.partition(":")
    hint = did_you_mean(module_name, known)
    known = ", ".join([*known, "package.module:Name"])
    checks.require(is_code(name), f"unknown {kind} {name!r:.200}{hint}; known: {known}")
    trust.check(kind, name)
    if moved := _moved(module_name, attribute):
        if not moved.__module__.startswith("score_sde."):
            trust.check_definition(kind, name, moved)
        return moved
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # foreign code may raise anything
        missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and f"{module_name}.".startswith(f"{missing}."):
            problem = f"no module {module_name!r:.200}{hint}"
        else:
            reason = f"{type(error).__name__}: {error}"
            problem = f"module {module_name!r:.200} cannot be imported ({reason})"
        raise ValueError(f"{kind} {name!r:.200}: {problem}") from error
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
    """A function or class of a module of version 0.1, from its old place if it is still
    there, else from its present one; None where there is none.
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
    """The keyword arguments of a section, checked against the signature of a function;
    integers become floats where it takes floats.

    >>> def heun(*, num_steps: int, snr: float = 0.1): ...
    >>> check_arguments("sampling", heun, {"num_steps": 18, "snr": 1})
    {'num_steps': 18, 'snr': 1.0}

    Args:
        section: the section of the config, for messages.
        function: the function or class.
        arguments: the arguments in the section. Only types that are plain Python types
            in the signature are checked.
        given: names of parameters that do not come from the section.
        name: the name that chose the function, for messages.

    Raises:
        ValueError: where a key is unknown or missing, or a value has a wrong type.
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
    """The value of a text ``"NAME:VALUE"``: the function called ``NAME`` in a table, with
    ``VALUE`` as its first argument and further arguments as ``,key=value``.

    >>> from_text("grid", "power:2,offset=1", {"power": lambda rho, offset=0: (rho, offset)})
    (2, 1)

    Raises:
        ValueError: where the name, a key or a value is wrong; it quotes the text.
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
    """Whether a value has the type of an annotation; True where that is no plain Python type."""
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
    """A plain annotation in words.

    >>> describe(int | None)
    'a whole number or None'
    """
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
