"""Overrides ``--config.section.key=value`` of a config."""

import ast
import types
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from score_sde import checks
from score_sde.cli.allowed_code import trust_of
from score_sde.cli.leftovers import drop_leftovers
from score_sde.cli.own_code import look_in_current_folder
from score_sde.experiments.code_names import check_code, named_code
from score_sde.experiments.sections import SECTIONS
from score_sde.experiments.tables import NAMED
from score_sde.runtime.naming import did_you_mean


def define(values: flags.FlagValues, config: ConfigDict, argv: Sequence[str]) -> None:
    """Define the flag ``config``, with a flag for each override among the arguments.

    Raises:
        ValueError: where an override names no section of the config.
    """
    _open_sections(config, argv)
    _check_overrides(config, argv)
    config_flags.register_flag_parser_for_type(types.NoneType, _Literal())
    config_flags.DEFINE_config_dict(
        "config",
        config,
        flag_values=values,
        lock_config=False,
        accept_new_attributes=True,
        sys_argv=list(argv),
    )


def settle(values: flags.FlagValues, before: Mapping[str, Any], *, saved_in: str | None) -> None:
    """Check the code that the config names after its overrides, and remove the keys
    that an override of a name has made meaningless.

    Args:
        values: the values of the flags. Their config is changed in place.
        before: the config before the overrides.
        saved_in: the file or folder of a saved config; None for one of the user's own.

    Raises:
        ValueError: where a saved config names code that the flags do not allow.
    """
    config = values.config.to_dict()
    if saved_in is not None:
        check_code(config, trust_of(values), saved_in)
    if any(named_code(config)) or (saved_in is not None and values.allow_code):
        look_in_current_folder()
    drop_leftovers(values.config, before, config_flags.get_override_values(values["config"]))


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
