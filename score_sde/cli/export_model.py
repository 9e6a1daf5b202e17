"""``score-sde export``: a trained model, or its sampler, as files for use without this
package.
"""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from score_sde.cli.command_flags import FLAGS
from score_sde.cli.flags import require, usage_errors
from score_sde.cli.own_code import command_line
from score_sde.cli.workdir import load_model
from score_sde.evaluation import report
from score_sde.experiments.score_model import Model
from score_sde.export.folder import CARD, README, WEIGHTS, check_free
from score_sde.export.stablehlo import NO_CALLBACKS, can_export
from score_sde.runtime.working_copy import local_path


def main(argv: Sequence[str]) -> int:
    """Write the averaged parameters and the resolved config, or the sampler as one program."""
    values = FLAGS["export"]().parse(argv)
    require(
        values.output or values.sampler,
        "--output or --sampler is missing: for example --output=exported/digits",
    )
    with usage_errors():
        _check_free(values)
    if values.sampler and not can_export():
        return _again(argv)
    model, workdir = load_model(values)
    rows = {}
    with usage_errors():
        if values.output:
            rows |= _export_model(local_path(values.output), model, workdir)
        if values.sampler:
            rows |= _export_sampler(local_path(values.sampler), model)
    report.show(f"{workdir}, step {model.step}", rows)
    return 0


def _check_free(values: Any) -> None:
    """Raise ``FileExistsError`` where a file exists already: an exported sampler does
    not say which program has written it.
    """
    if values.output:
        check_free(local_path(values.output))
    path = local_path(values.sampler or "")
    if values.sampler and path.exists() and not values.overwrite:
        raise FileExistsError(
            f"{path} exists: choose another --sampler, or overwrite it by --overwrite"
        )


def _again(argv: Sequence[str]) -> int:
    """Run the command in a new Python process, since equinox reads the environment once."""
    command = [*command_line(), "export", *argv]
    return subprocess.run(command, env=os.environ | dict([NO_CALLBACKS]), check=False).returncode


def _export_model(folder: Path, model: Model, workdir: Path) -> dict[str, str]:
    model.save(folder, figures=report.read(workdir))
    return {
        "weights": str(folder / WEIGHTS),
        "config and fingerprints": str(folder / CARD),
        "model card": str(folder / README),
    }


def _export_sampler(path: Path, model: Model) -> dict[str, str]:
    model.export_sampler(path)
    return {
        "sampler": f"{type(model.sampler).__name__}, {path.stat().st_size / 1e6:.1f} MB, {path}"
    }
