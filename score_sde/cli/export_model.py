"""``score-sde export``: a trained model, or its sampler, as files that need nothing of
this package to be read.
"""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from score_sde.cli.flags import Refusal, refusals
from score_sde.cli.own_code import command_line
from score_sde.cli.workdir import load_model, workdir_flags
from score_sde.evaluation import report
from score_sde.experiments.score_model import Model
from score_sde.export.model import CARD, WEIGHTS, check_free
from score_sde.export.stablehlo import NO_CALLBACKS, can_export


def main(argv: Sequence[str]) -> int:
    """Write the averaged parameters and the resolved config, or the sampler as one program."""
    description = (
        "Write a trained model as safetensors and JSON (--output), to be loaded without its run; "
        "or its sampler,\nparameters included, as one file of StableHLO (--sampler), to be run "
        "where there is jax and nothing else."
    )
    flags = workdir_flags("export", description)
    flags.string("output", None, "new folder for the model (default: none)")
    flags.string(
        "sampler", None, "new file for the sampler, or any with --overwrite (default: none)"
    )
    values = flags.parse(argv)
    if not values.output and not values.sampler:
        raise Refusal("--output or --sampler is missing: for example --output=exported/digits")
    with refusals():
        _check_free(values)
    if values.sampler and not can_export():
        return _again(argv)
    model, workdir = load_model(values)
    rows = {}
    with refusals():
        if values.output:
            rows |= _export_model(Path(values.output).expanduser(), model)
        if values.sampler:
            rows |= _export_sampler(Path(values.sampler).expanduser(), model)
    report.show(f"{workdir}, step {model.step}", rows)
    return 0


def _check_free(values: Any) -> None:
    """Raise ``FileExistsError`` where something is in the way: a file does not say
    whose sampler it is.
    """
    if values.output:
        check_free(Path(values.output).expanduser())
    path = Path(values.sampler or "").expanduser()
    if values.sampler and path.exists() and not values.overwrite:
        raise FileExistsError(
            f"{path} is there already: choose another place, or write over it by --overwrite"
        )


def _again(argv: Sequence[str]) -> int:
    """The same in a Python of its own, for equinox reads the environment once."""
    command = [*command_line(), "export", *argv]
    return subprocess.run(command, env=os.environ | dict([NO_CALLBACKS]), check=False).returncode


def _export_model(folder: Path, model: Model) -> dict[str, str]:
    model.save(folder)
    return {"weights": str(folder / WEIGHTS), "config and fingerprints": str(folder / CARD)}


def _export_sampler(path: Path, model: Model) -> dict[str, str]:
    model.export_sampler(path)
    return {
        "sampler": f"{type(model.sampler).__name__}, {path.stat().st_size / 1e6:.1f} MB, {path}"
    }
