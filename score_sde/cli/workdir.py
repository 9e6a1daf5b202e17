"""What the verbs share that start from a trained model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from score_sde.builders import load, saved_config
from score_sde.cli.flags import Flags, Refusal, refusals, require, value_of, wants_help
from score_sde.experiment import Model

EXAMPLE = "runs/digits"


def workdir_flags(flags: Flags, argv: Sequence[str]) -> None:
    """``--workdir``, ``--checkpoint``, and overrides of the config saved there."""
    flags.string("workdir", None, f"folder of a training run, for example {EXAMPLE}")
    flags.integer("checkpoint", None, "step of the checkpoint; the latest unless given")
    if wants_help(argv):
        return
    path = Path(require(value_of("workdir", argv), "workdir", EXAMPLE))
    with refusals():
        flags.config_of_run(saved_config(path, step=_checkpoint(argv)), argv)


def load_model(values: Any) -> tuple[Model, Path]:
    """The model that the flags ask for, and its folder."""
    path = Path(values.workdir)
    with refusals():
        return load(path, step=values.checkpoint, config=values.config), path


def _checkpoint(argv: Sequence[str]) -> int | None:
    step = value_of("checkpoint", argv)
    if step is not None and not step.isdigit():
        raise Refusal(f"--checkpoint must be the step of a checkpoint, got {step!r}")
    return None if step is None else int(step)
