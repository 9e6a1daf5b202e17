"""The flags of a command, by absl, and overrides ``--config.section.key=value``."""

import ast
import contextlib
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from score_sde import checks
from score_sde.cli.config_file import read_config
from score_sde.cli.leftovers import drop_leftovers
from score_sde.cli.own_code import look_in_current_folder, trust_of
from score_sde.experiments.code_names import check_code, named_code
from score_sde.experiments.sections import SECTIONS
from score_sde.experiments.tables import NAMED
from score_sde.runtime.naming import did_you_mean
from score_sde.runtime.unreadable import TRANSIENT, UnreadableError

HELP = ("-h", "-help", "--help")
"""The arguments that ask for help."""

ReadConfig = Callable[[Sequence[str]], tuple[ConfigDict | None, list[str]]]
"""From the arguments to the config that they name, or None, and the other arguments."""

_WORDS = {
    "bool": "true or false",
    "multi tuple": "a tuple such as '(1, 2)'",
    "string": "a section such as \"{'name': 'heun', 'num_steps': 50}\"",
}
"""The values of a flag type of absl, where absl does not describe them."""


class UsageError(Exception):
    """An error that the user can correct: shown as one line, exit code 2."""


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
        config: a function that finds the config.
        config_help: for ``--help``: the flags of the config and their descriptions.
        saved: whether the config comes from a workdir. It may then name code only as
            far as ``--allow_code`` permits, a flag that the command must define.
    """

    def __init__(
        self,
        command: str,
        description: str,
        config: ReadConfig,
        config_help: dict[str, str],
        *,
        saved: bool = False,
    ) -> None:
        self._command, self._read_config, self._saved = command, config, saved
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
        at_most: int | None = None,
    ) -> None:
        """A flag for a whole number."""
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

    def parse(self, argv: Sequence[str]) -> Any:
        """The values of the flags, ``config`` among them; ``--help`` prints the help and
        exits with code 0.
        """
        if any(argument in HELP for argument in argv):
            print(f"{self._usage}\n{self._help()}")
            raise SystemExit(0)
        with usage_errors():
            config, rest = self._read_config([self._written_out(argument) for argument in argv])
            before = {} if config is None else config.to_dict()
            unexpected = self._parse(config, rest)
            if unexpected:
                raise ValueError(
                    f"unexpected argument {unexpected[0]!r}: flags are written --flag=value"
                )
            if config is not None:
                self._settle(before)
        return self._values

    def _settle(self, before: dict[str, Any]) -> None:
        """Check the code that the config names after its overrides, and remove the keys
        that an override of a name has made meaningless.
        """
        config = self._values.config.to_dict()
        if self._saved:
            check_code(config, trust_of(self._values), str(self._values.workdir))
        if any(named_code(config)) or (self._saved and self._values.allow_code):
            look_in_current_folder()
        drop_leftovers(
            self._values.config, before, config_flags.get_override_values(self._values["config"])
        )

    def _parse(self, config: ConfigDict | None, argv: Sequence[str]) -> list[str]:
        try:
            if config is not None:
                _open_sections(config, argv)
                _check_overrides(config, argv)
                config_flags.register_flag_parser_for_type(types.NoneType, _Literal())
                config_flags.DEFINE_config_dict(
                    "config",
                    config,
                    flag_values=self._values,
                    lock_config=False,
                    accept_new_attributes=True,
                    sys_argv=list(argv),
                )
            return self._values([self._command, *argv])[1:]
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
        except TypeError as error:  # a key that is None takes the type of its first override
            key = str(error).partition("'")[2].partition("'")[0]
            raise ValueError(
                f"the flags give {key} values of several types: {_flags_of(key, argv)}"
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
    words = flag.parser.syntactic_help or _WORDS.get(flag.flag_type(), "of another type")
    return f"an {words}" if words.startswith("integer") else words


def value_of(name: str, argv: Sequence[str]) -> str | None:
    """The value of ``--name=value`` or ``--name value`` before the flags are parsed;
    the last counts, as in absl.
    """
    return take(name, argv)[0]


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


def config_help(default: str, example: str = "digits/vp") -> dict[str, str]:
    """The help of the flags of a config."""
    return {
        "--config": f"config file: a path, or the name of a config of score_sde such as {example} "
        f"({default})",
        "--config.section.key=value": "override a value of the config, for example "
        "--config.training.num_steps=2000",
    }


def named_config(argv: Sequence[str]) -> tuple[ConfigDict | None, list[str]]:
    """The config of ``--config=FILE``, or None, and the other arguments."""
    name, rest = take("config", argv)
    return None if name is None else read_config(name), rest


def _flags_of(key: str, argv: Sequence[str]) -> str:
    return " and ".join(
        argument for argument in argv if argument.partition("=")[0].endswith(f".{key}")
    )


def required_config(
    argv: Sequence[str], example: str = "digits/vp"
) -> tuple[ConfigDict, list[str]]:
    """The config of ``--config=FILE``, and the other arguments."""
    config, rest = named_config(argv)
    return given(config, "config", f"configs/{example}.py"), rest


def sentence(error: BaseException) -> str:
    """The message of an error on one line."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    return " ".join(str(error).split())


class _Literal(flags.ArgumentParser):
    """For keys that are None: any literal, or else a text."""

    def parse(self, argument: str) -> Any:
        try:
            return ast.literal_eval(argument)
        except (SyntaxError, ValueError):
            return argument


def _open_sections(config: ConfigDict, argv: Sequence[str]) -> None:
    """Turn a value into a section where an override names a key of that section.

    ``--config.sampling.threshold.name=static`` then works though the config has
    ``sampling.threshold=None``; and ``"static"`` is short for ``{"name": "static"}``.
    """
    paths = [
        argument.lstrip("-").partition("=")[0].rpartition(".")[0]
        for argument in argv
        if argument[:1] == "-"
    ]
    for head, key in (
        path.split(".") for path in NAMED if "." in path and f"config.{path}" in paths
    ):
        section = config.get(head)
        if not isinstance(section, ConfigDict):
            continue
        value = section.get(key)
        if value is None or isinstance(value, str):
            with section.ignore_type():
                section[key] = ConfigDict({"name": value} if value else {})


def _check_overrides(config: ConfigDict, argv: Sequence[str]) -> None:
    """Raise ``ValueError`` where an override names no section of the config."""
    for argument in argv:
        flag = argument.lstrip("-").partition("=")[0].removeprefix("no")
        if not argument.startswith("-") or not flag.startswith("config."):
            continue
        head, *keys = flag.split(".")[1:]
        checks.require(
            all(key.isidentifier() for key in (head, *keys)),
            f"unknown flag --{flag}: an override is --config.section.key=value",
        )
        checks.require(
            head in SECTIONS,
            f"--{flag}: the config has no section {head!r}{did_you_mean(head, SECTIONS)}; "
            f"sections: {', '.join(SECTIONS)}",
        )
        section, path = config.get(head), head
        for key in keys:
            if not isinstance(section, ConfigDict):
                raise ValueError(f"--{flag}: {path} is not a section but {section!r}")
            section, path = section.get(key), f"{path}.{key}"
