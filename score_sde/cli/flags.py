"""The flags of a command, by absl."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

from absl import flags

from score_sde.experiments.limits import MAX_COUNT
from score_sde.runtime.naming import did_you_mean
from score_sde.runtime.unreadable import TRANSIENT, UnreadableError

HELP = ("-h", "-help", "--help")
"""The arguments that ask for help."""


class Found(NamedTuple):
    """A config, and where it comes from.

    Attributes:
        config: its sections, as plain dictionaries.
        foreign: the file or folder of a config that may be from elsewhere. It may name
            code only as far as ``--allow_code`` permits, a flag that the command must
            define. None for a config that the user has written.
    """

    config: Mapping[str, Any]
    foreign: str | None = None


ReadConfig = Callable[[], Found | None]
"""Reads a config; None where the arguments name none."""

FindConfig = Callable[[Sequence[str]], tuple[ReadConfig, list[str]]]
"""From the arguments to a function that reads the config they name, and the others."""


class Values(SimpleNamespace):
    """The values of the flags by name; where there is a config, also ``config``, its
    sections as plain dictionaries, ``overrides``, such as ``{"sde.name": "ve"}``, and
    ``foreign``, as in `Found`.
    """

    def __contains__(self, name: str) -> bool:
        return name in vars(self)


LONGEST = 1000
"""The longest message, in characters: an argument may have any length."""


class UsageError(Exception):
    """An error that the user can correct: shown as one line, exit code 2."""

    def __init__(self, message: str) -> None:
        line = " ".join(message.split())
        super().__init__(line if len(line) <= LONGEST else f"{line[:LONGEST]}…")


def require(condition: object, message: str) -> None:
    """Raise ``UsageError(message)`` unless the condition is true."""
    if not condition:
        raise UsageError(message)


INPUT_ERRORS = (flags.Error, ValueError, OSError)
"""The errors that wrong flags, configs, files and folders cause."""


@contextlib.contextmanager
def usage_errors(kinds: tuple[type[Exception], ...] = INPUT_ERRORS) -> Iterator[None]:
    """Turn errors of these kinds into a `UsageError`.

    Raises:
        UnreadableError: where a file cannot be read at the moment, though no input is
            wrong.
    """
    try:
        yield
    except UnreadableError:
        raise
    except kinds as error:
        if isinstance(error, OSError) and error.errno in TRANSIENT:
            raise UnreadableError(sentence(error)) from error
        raise UsageError(sentence(error)) from error


class Flags:
    """The flags of one command.

    Args:
        command: the name of the command.
        description: its description for ``--help``.
        find_config: a function that finds the config.
        config_help: for ``--help``: the flags of the config and their descriptions.
    """

    def __init__(
        self,
        command: str,
        description: str,
        find_config: FindConfig,
        config_help: dict[str, str],
    ) -> None:
        self._command, self._find_config = command, find_config
        self._values = flags.FlagValues()
        self._usage = f"usage: score-sde {command} [--flag=value …]\n\n{description}\n"
        self._lines = dict(config_help)
        self._shorthands: dict[str, str] = {}
        flags.DEFINE_bool("help", False, "", short_name="h", flag_values=self._values)

    def string(self, name: str, default: str | None, description: str) -> None:
        """A flag for a text."""
        flags.DEFINE_string(name, default, description, flag_values=self._values)
        self._describe(name, default, description)

    def choice(self, name: str, default: str, choices: Sequence[str], description: str) -> None:
        """A flag for one of several texts."""
        flags.DEFINE_enum(name, default, choices, description, flag_values=self._values)
        self._describe(name, default, description)

    def integer(
        self,
        name: str,
        default: int | None,
        description: str,
        *,
        at_least: int = 0,
        at_most: int = MAX_COUNT,
    ) -> None:
        """A flag for a whole number, which by default is counted in 32 bits."""
        flags.DEFINE_integer(
            name,
            default,
            description,
            lower_bound=at_least,
            upper_bound=at_most,
            flag_values=self._values,
        )
        self._describe(name, default, description)

    def number(self, name: str, default: float | None, description: str) -> None:
        """A flag for a number."""
        flags.DEFINE_float(name, default, description, flag_values=self._values)
        self._describe(name, default, description)

    def boolean(self, name: str, default: bool, description: str) -> None:
        """A flag that is on or off."""
        flags.DEFINE_bool(name, default, description, flag_values=self._values)
        self._describe(name, default, description)

    def shorthand(self, name: str, path: str, description: str) -> None:
        """A flag that is short for ``--config.PATH``."""
        self._shorthands[name] = f"config.{path}"
        self._lines[f"--{name}"] = (
            f"{description}; short for --config.{path} (default: the value of the config)"
        )

    def check(self, argv: Sequence[str]) -> None:
        """Find wrong arguments, as far as this needs neither the config nor JAX; ``--help``
        prints the help and exits with code 0.
        """
        self._found(argv)

    def parse(self, argv: Sequence[str]) -> Values:
        """The values of the flags and the config; ``--help`` as in `check`."""
        read_config, rest = self._found(argv)
        with usage_errors():
            return self._parsed(read_config(), rest)

    def _found(self, argv: Sequence[str]) -> tuple[ReadConfig, list[str]]:
        if any(argument in HELP for argument in argv):
            print(f"{self._usage}\n{self._help()}")
            raise SystemExit(0)
        with usage_errors():
            return self._find_config([self._written_out(argument) for argument in argv])

    def _parsed(self, found: Found | None, argv: Sequence[str]) -> Values:
        if found is None:
            return self._values_in(argv)
        from score_sde.cli.overrides import override, settle

        with self._explained(argv):
            argv = self._values.read_flags_from_files(argv, force_gnu=False)
        config, given, rest = override(found.config, argv)
        values = self._values_in(rest, config=config, overrides=given, foreign=found.foreign)
        settle(values, found.config)
        return values

    def _values_in(self, argv: Sequence[str], **config: Any) -> Values:
        with self._explained(argv):
            unexpected = self._values([self._command, *argv])[1:]
        if unexpected:
            raise ValueError(
                f"unexpected argument {unexpected[0]!r}: flags are written --flag=value"
            )
        return Values(**{name: self._values[name].value for name in self._values}, **config)

    @contextlib.contextmanager
    def _explained(self, argv: Sequence[str]) -> Iterator[None]:
        """Turn errors of absl into a ``ValueError`` that names the flag and its right values."""
        try:
            yield
        except flags.UnrecognizedFlagError as error:
            hint = did_you_mean(error.flagname, ["config", *self._shorthands, *self._values])
            raise ValueError(
                f"unknown flag --{error.flagname}{hint}; --help lists the flags"
            ) from error
        except flags.IllegalFlagValueError as error:
            name = str(error).removeprefix("flag --").partition("=")[0]
            raise ValueError(
                f"--{name}={value_of(name, argv)} must be {_values_of(self._values[name])}"
            ) from error

    def _written_out(self, argument: str) -> str:
        flag, equals, value = argument.partition("=")
        path = self._shorthands.get(flag.lstrip("-")) if flag.startswith("-") else None
        return argument if path is None else f"--{path}{equals}{value}"

    def _describe(self, name: str, default: Any, description: str) -> None:
        self._lines[f"--{name}"] = (
            description if default is None else f"{description} (default: {default})"
        )

    def _help(self) -> str:
        lines = {**self._lines, "--help": "show this help"}
        width = max(map(len, lines))
        return "\n".join(f"  {name:<{width}}  {description}" for name, description in lines.items())


def _values_of(flag: flags.Flag) -> str:
    """The values that a flag takes, in words."""
    if isinstance(flag.parser, flags.EnumParser):
        return " or ".join(flag.parser.enum_values)
    if flag.boolean:
        return "true or false"
    words = flag.parser.syntactic_help or "of another type"
    return f"an {words}" if words.startswith("integer") else words


def value_of(name: str, argv: Sequence[str]) -> str | None:
    """The value of ``--name=value`` or ``--name value`` before the flags are parsed;
    the last counts, as in absl.
    """
    return take(name, argv)[0]


def is_on(name: str, argv: Sequence[str]) -> bool:
    """The value of a flag that is on or off, before the others are parsed; off by default."""
    given = [word for word in argv if re.fullmatch(rf"--?(no)?{name}(=.*)?", word)]
    values = flags.FlagValues()
    flags.DEFINE_bool(name, False, "", flag_values=values)
    values(["", *given])
    return bool(values[name].value)


def take(name: str, argv: Sequence[str]) -> tuple[str | None, list[str]]:
    """The value of a flag, and the arguments without it.

    Raises:
        ValueError: where the flag has no value.
    """
    value, rest, arguments = None, [], iter(argv)
    for argument in arguments:
        flag, equals, tail = argument.partition("=")
        if flag not in (f"--{name}", f"-{name}"):
            rest.append(argument)
            continue
        value = tail if equals else next(arguments, "")
        if not value or value.startswith("--"):
            raise ValueError(f"--{name} has no value")
    return value, rest


def given(value: Any, flag: str, example: str) -> Any:
    """The value of a required flag."""
    require(value not in (None, ""), f"--{flag} is missing: for example --{flag}={example}")
    return value


def sentence(error: BaseException) -> str:
    """The message of an error on one line."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    return " ".join(str(error).split())
