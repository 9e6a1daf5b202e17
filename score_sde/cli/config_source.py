"""Where the config of a command is: in a file, in a run, or beside a published checkpoint.

Each function finds the config that the arguments name, and returns a function that reads
it and the other arguments. It finds wrong arguments without JAX.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from score_sde.cli.config_file import find_config, read_config, read_resolved
from score_sde.cli.flags import (
    Found,
    ReadConfig,
    UsageError,
    given,
    require,
    take,
    usage_errors,
    value_of,
)
from score_sde.export.folder import check_trainable, is_exported
from score_sde.runtime.naming import did_you_mean
from score_sde.runtime.trust import ALL
from score_sde.runtime.working_copy import local_path

EXAMPLE = "runs/digits"
"""A workdir, for messages."""


def no_config(argv: Sequence[str]) -> tuple[ReadConfig, list[str]]:
    """No config."""
    return lambda: None, list(argv)


def named_config(argv: Sequence[str]) -> tuple[ReadConfig, list[str]]:
    """The config of ``--config=FILE``, or none."""
    name, rest = take("config", argv)
    return (lambda: None) if name is None else _of_file(name), rest


def required_config(
    argv: Sequence[str], example: str = "digits/vp"
) -> tuple[ReadConfig, list[str]]:
    """The config of ``--config=FILE``."""
    name, rest = take("config", argv)
    return _of_file(given(name, "config", f"configs/{example}.py")), rest


def config_to_train(argv: Sequence[str]) -> tuple[ReadConfig, list[str]]:
    """The config of ``--config=FILE``; else that of the run in ``--workdir``; else that of
    the model of ``--init_from``.
    """
    if take("config", argv)[0] is None:
        workdir, init_from = value_of("workdir", argv), value_of("init_from", argv)
        if workdir is not None:
            check_trainable(folder := local_path(workdir))
            if (folder / "config.json").is_file() or (folder / "checkpoints").is_dir():
                return partial(_config_to_resume, folder), list(argv)
        if init_from is not None:
            model = local_path(init_from)
            require(model.exists(), f"no such file or folder: {model}")
            require(model.is_dir(), f"--config is missing: {model} has no config of its own")
            return partial(_saved_config, model, None), list(argv)
    return required_config(argv)


def config_of_run(argv: Sequence[str]) -> tuple[ReadConfig, list[str]]:
    """The config that is saved in ``--workdir``, with ``--checkpoint``."""
    require(
        take("config", argv)[0] is None,
        "the config is saved with the model: override it by --config.section.key=value",
    )
    step = value_of("checkpoint", argv)
    require(step is None or step.isdigit(), f"--checkpoint={step} must be the step of a checkpoint")
    path = existing_workdir(value_of("workdir", argv))
    return partial(_saved_config, path, None if step is None else int(step)), list(argv)


def config_to_import(argv: Sequence[str]) -> tuple[ReadConfig, list[str]]:
    """The config of ``--config``, ``--reference_config``, or a diffusers folder."""
    name, rest = take("config", argv)
    reference, rest = take("reference_config", rest)
    require(
        name is None or reference is None,
        "--config and --reference_config exclude each other: give one of them",
    )
    if reference is not None:
        return partial(_reference_config, reference), rest
    if name is not None:
        return _of_file(name), rest
    return partial(_diffusers_config, value_of("checkpoint", argv)), rest


def existing_workdir(name: str | None) -> Path:
    """The folder of a training run or of an exported model.

    Raises:
        UsageError: for any other folder.
    """
    with usage_errors():
        path = local_path(given(name, "workdir", EXAMPLE))
    if (path / "checkpoints").is_dir() or is_exported(path):
        return path
    if path.is_dir() and "checkpoints" in path.parts:
        workdir = Path(*path.parts[: path.parts.index("checkpoints")])
        raise UsageError(
            f"{path} is inside a workdir: use --workdir={workdir}, with --checkpoint=STEP for an "
            "earlier step"
        )
    if not path.exists():
        siblings = [
            str(other) for other in path.parent.glob("*") if (other / "checkpoints").is_dir()
        ]
        raise UsageError(f"no such workdir: {path}{did_you_mean(str(path), siblings)}")
    raise UsageError(
        f"no checkpoints in {path}: train with `score-sde train --config=… --workdir={path}` first"
    )


def _of_file(name: str) -> ReadConfig:
    path = find_config(name)  # for its error, before JAX is imported
    if path.suffix == ".json":
        return lambda: Found(read_resolved(path), foreign=str(path))
    if path.suffix in (".yml", ".yaml"):
        return partial(_reference_config, str(path))
    return lambda: Found(read_config(name).to_dict())


def _config_to_resume(workdir: Path) -> Found:
    from score_sde.experiments.loading import config_to_resume

    return Found(config_to_resume(workdir).to_dict(), foreign=str(workdir))


def _saved_config(path: Path, step: int | None) -> Found:
    from score_sde.experiments.loading import saved_config

    # All code is allowed here: flags may replace some of the names, and `Flags` checks
    # the result before anything is imported.
    return Found(saved_config(path, step=step, allow=ALL).to_dict(), foreign=str(path))


def _reference_config(name: str) -> Found:
    from score_sde.cli.reference_config import read_reference_config

    return Found(read_reference_config(name).to_dict())


def _diffusers_config(checkpoint: str | None) -> Found | None:
    from score_sde.experiments.loading import saved_config
    from score_sde.interop.diffusers_folder import is_diffusers

    if checkpoint is None or not is_diffusers(folder := local_path(checkpoint)):
        return None
    return Found(saved_config(folder).to_dict())
