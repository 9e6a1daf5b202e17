"""Flags as this field's users know them: absl, and ``--config.section.key=value``."""

import ast
import contextlib
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from score_sde.cli.config_file import read_config
from score_sde.cli.leftovers import drop_leftovers
from score_sde.cli.own_code import look_in_current_folder, trust_of
from score_sde.experiments.code_names import check_code, named_code
from score_sde.experiments.sections import SECTIONS
from score_sde.experiments.tables import NAMED
from score_sde.runtime.naming import did_you_mean
from score_sde.runtime.unreadable import TRANSIENT, UnreadableError

MAX_SEED = 2**32 - 1

HELP = ("-h", "-help", "--help")
"""The arguments that ask for help."""

ReadConfig = Callable[[Sequence[str]], tuple[ConfigDict | None, list[str]]]
"""From the arguments to the config they name, if they name one, and the arguments that are left."""

_WORDS = {
    "bool": "true or false",
    "multi tuple": "a tuple such as '(1, 2)'",
    "string": "a section such as \"{'name': 'heun', 'num_steps': 50}\"",
}
"""What a flag of absl's type takes, where absl has no words for it."""


class Refusal(Exception):  # noqa: N818 - it is no error of the program's
    """Something that the user can put right: shown as one line, exit code 2."""


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turn what wrong input raises into a ``Refusal``.

    Raises:
        UnreadableError: where something cannot be read at the moment: no input is
            wrong.
    """
    try:
        yield
    except UnreadableError:
        raise
    except (flags.Error, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno in TRANSIENT:
            raise UnreadableError(sentence(error)) from error
        raise Refusal(sentence(error)) from error


class Flags:
    """The flags of one verb.

    Args:
        verb: the verb.
        description: what it does, for ``--help``.
        config: how the config is found.
        config_help: for ``--help``: the flags of the config and what they are for.
        saved: whether the config comes from a workdir, and may name code only where
            ``--allow_code`` says so, a flag that has to be defined then.
    """

    def __init__(
        self,
        verb: str,
        description: str,
        config: ReadConfig,
        config_help: dict[str, str],
        *,
        saved: bool = False,
    ) -> None:
        self._verb, self._read_config, self._saved = verb, config, saved
        self._values = flags.FlagValues()
        self._usage = f"usage: score-sde {verb} [--flag=value …]\n\n{description}\n"
        self._lines = dict(config_help)
        self._shorthands: dict[str, str] = {}
        flags.DEFINE_bool("help", False, "", short_name="h", flag_values=self._values)

    def string(self, name: str, default: str | None, description: str) -> None:
        """A flag for a text."""
        flags.DEFINE_string(name, default, description, flag_values=self._values)
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
            f"{description}: short for --config.{path} (default: that of the config)"
        )

    def parse(self, argv: Sequence[str]) -> Any:
        """The values, ``config`` among them; on ``--help`` the help, and a normal exit."""
        if any(argument in HELP for argument in argv):
            print(f"{self._usage}\n{self._help()}")
            raise SystemExit(0)
        with refusals():
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
        """Check the code that the config names after its overrides, and remove keys
        that these made pointless.
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
            return self._values([self._verb, *argv])[1:]
        except flags.UnrecognizedFlagError as error:
            hint = did_you_mean(error.flagname, ["config", *self._shorthands, *self._values])
            raise ValueError(
                f"unknown flag --{error.flagname}{hint}; --help lists the flags"
            ) from error
        except flags.IllegalFlagValueError as error:
            name = str(error).removeprefix("flag --").partition("=")[0]
            parser = self._values[name].parser
            wanted = parser.syntactic_help or _WORDS.get(
                self._values[name].flag_type(), "of another type"
            )
            wanted = f"an {wanted}" if wanted.startswith("integer") else wanted
            raise ValueError(f"--{name} must be {wanted}, got {value_of(name, argv)!r}") from error
        except TypeError as error:  # what was None takes anything once, and is then of that type
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


def require(value: Any, flag: str, example: str) -> Any:
    """The value of a flag that must be given."""
    if value is None or value == "":
        raise Refusal(f"--{flag} is missing: for example --{flag}={example}")
    return value


def config_help(default: str, example: str = "digits/vp") -> dict[str, str]:
    """What ``--help`` says of the flags of a config."""
    return {
        "--config": f"config file: a path, or the name of a published one such as {example} "
        f"({default})",
        "--config.section.key=value": "changes a value of the config, as "
        "--config.training.num_steps=2000",
    }


def named_config(argv: Sequence[str]) -> tuple[ConfigDict | None, list[str]]:
    """The config that ``--config=FILE`` names, if it is there, and the other arguments."""
    name, rest = take("config", argv)
    return None if name is None else read_config(name), rest


def _flags_of(key: str, argv: Sequence[str]) -> str:
    return " and ".join(
        argument for argument in argv if argument.partition("=")[0].endswith(f".{key}")
    )


def required_config(
    argv: Sequence[str], example: str = "digits/vp"
) -> tuple[ConfigDict, list[str]]:
    """The config that ``--config=FILE`` names, and the other arguments."""
    config, rest = named_config(argv)
    return require(config, "config", f"configs/{example}.py"), rest


def sentence(error: BaseException) -> str:
    """The message of an error on one line."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    return " ".join(str(error).split())


class _Literal(flags.ArgumentParser):
    """For what is None so far: any literal, or else a text."""

    def parse(self, argument: str) -> Any:
        try:
            return ast.literal_eval(argument)
        except (SyntaxError, ValueError):
            return argument


def _open_sections(config: ConfigDict, argv: Sequence[str]) -> None:
    """Make sections of the values that have one of their own, where an override names a key of it.

    ``sampling.threshold`` is None in most configs, and ``"static"`` is short for
    ``{"name": "static"}``.
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
    """Raise ``ValueError`` where an override names a section that the config does not have."""
    for argument in argv:
        flag = argument.lstrip("-").partition("=")[0].removeprefix("no")
        if not argument.startswith("-") or not flag.startswith("config."):
            continue
        head, *keys = flag.split(".")[1:]
        if not all(key.isidentifier() for key in (head, *keys)):
            raise ValueError(
                f"unknown flag --{flag}: the config is changed by --config.section.key=value"
            )
        if head not in SECTIONS:
            hint = did_you_mean(head, SECTIONS)
            raise ValueError(
                f"--{flag}: the config has no section {head!r}{hint}; sections: "
                f"{', '.join(SECTIONS)}"
            )
        section, path = config.get(head), head
        for key in keys:
            if not isinstance(section, ConfigDict):
                raise ValueError(f"--{flag}: {path} is not a section but {section!r}")
            section, path = section.get(key), f"{path}.{key}"
