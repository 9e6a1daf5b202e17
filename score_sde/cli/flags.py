"""Flags as this field's users know them: absl, and ``--config.section.key=value``."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from score_sde.naming import did_you_mean


class Refusal(Exception):  # noqa: N818 - it is no error of the program's
    """Something that the user can put right: shown as one line, exit code 2."""


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turn what wrong input raises into a ``Refusal``."""
    try:
        yield
    except (flags.Error, ValueError, OSError) as error:
        raise Refusal(_sentence(error)) from error


class Flags:
    """The flags of one verb.

    Args:
        verb: the verb.
        description: what it does, for ``--help``.
    """

    def __init__(self, verb: str, description: str) -> None:
        self._values = flags.FlagValues()
        self._usage = f"usage: score-sde {verb} [--flag=value …]\n\n{description}\n"
        flags.DEFINE_bool("help", False, "show this help", short_name="h", flag_values=self._values)

    def string(self, name: str, default: str | None, description: str) -> None:
        """A flag for a text."""
        flags.DEFINE_string(name, default, description, flag_values=self._values)

    def integer(self, name: str, default: int | None, description: str, *, at_least: int = 0) -> None:
        """A flag for a whole number."""
        flags.DEFINE_integer(name, default, description, lower_bound=at_least, flag_values=self._values)

    def config_file(self, argv: Sequence[str]) -> None:
        """``--config=FILE``, and ``--config.section.key=value``."""
        config_flags.DEFINE_config_file(
            "config",
            None,
            "path or name of a config file (digits/vp); --config.section.key=value overrides a value",
            flag_values=self._values,
            lock_config=False,
            accept_new_attributes=True,
            sys_argv=list(argv),
        )

    def config_of_run(self, config: ConfigDict, argv: Sequence[str]) -> None:
        """``--config.section.key=value``, over the config of a trained model."""
        config_flags.DEFINE_config_dict(
            "config",
            config,
            "--config.section.key=value overrides a value of the config saved in the workdir",
            flag_values=self._values,
            lock_config=False,
            accept_new_attributes=True,
            sys_argv=list(argv),
        )

    def parse(self, verb: str, argv: Sequence[str]) -> Any:
        """The values; on ``--help`` the help, and a normal exit."""
        if wants_help(argv):
            print(f"{self._usage}\n{self._help()}")
            raise SystemExit(0)
        with refusals():
            rest = self._values([verb, *argv])[1:]
        if rest:
            raise Refusal(f"unexpected argument {rest[0]!r}: flags are written --flag=value")
        return self._values

    def _help(self) -> str:
        lines = []
        for name in sorted(self._values):
            flag = self._values[name]
            if name == flag.name:
                default = "" if flag.default in (None, False) or name == "config" else f" (default: {flag.default})"
                lines.append(f"  --{name:<14}{flag.help}{default}")
        return "\n".join(lines)


def wants_help(argv: Sequence[str]) -> bool:
    """Whether the help is asked for."""
    return any(argument in ("-h", "-help", "--help") for argument in argv)


def value_of(name: str, argv: Sequence[str]) -> str | None:
    """The value of ``--name=value`` or ``--name value`` before the flags are parsed."""
    for index, argument in enumerate(argv):
        head, equals, tail = argument.lstrip("-").partition("=")
        if argument.startswith("-") and head == name:
            return tail if equals else next(iter(argv[index + 1 :]), None)
    return None


def with_config_path(argv: Sequence[str]) -> list[str]:
    """The arguments, with the name of a published config (``digits/vp``) replaced by its path.

    Raises:
        Refusal: where there is no such file.
    """
    name = value_of("config", argv)
    if name is None:
        return list(argv)
    path, given = Path(name), Path(name)
    if not path.suffix:
        path = _published() / f"{name}.py"
    elif not path.is_file() and not path.is_absolute():
        path = _published() / path.relative_to("configs") if path.parts[0] == "configs" else _published() / path
    if not path.is_file():
        raise Refusal(f"no config file {name!r}{did_you_mean(name, _near(given))}")
    return [argument.replace(name, str(path), 1) if _is_config(argument, name) else argument for argument in argv]


def require(value: Any, flag: str, example: str) -> Any:
    """The value of a flag that must be given."""
    if value is None:
        raise Refusal(f"--{flag} is missing: for example --{flag}={example}")
    return value


def _is_config(argument: str, name: str) -> bool:
    return argument in (f"--config={name}", f"-config={name}", name)


def _published() -> Path:
    import score_sde.configs

    return Path(score_sde.configs.__file__).parent


def _near(path: Path) -> list[str]:
    """Config files that may have been meant: those beside the path, and the published ones by path and name."""
    published = [
        file.relative_to(_published()) for file in sorted(_published().rglob("*.py")) if file.stem != "__init__"
    ]
    beside = [str(file) for file in sorted(path.parent.glob("*.py"))] if path.parent.is_dir() else []
    return [*beside, *(f"configs/{file}" for file in published), *(str(file.with_suffix("")) for file in published)]


def _sentence(error: BaseException) -> str:
    """The message of an error on one line."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    return " ".join(str(error).split())
