"""``score-sde train``: from a config to checkpoints, curves and sample grids."""

from collections.abc import Sequence
from pathlib import Path

from score_sde.cli.flags import Flags, config_help, refusals, require, required_config
from score_sde.cli.own_files import OVERWRITE
from score_sde.cli.training import train_in
from score_sde.cli.workdir import EXAMPLE
from score_sde.experiments.base import AnyExperiment
from score_sde.experiments.builders import build
from score_sde.experiments.resume import continued
from score_sde.runtime.signals import StopRequest


def main(argv: Sequence[str]) -> int:
    """Train, or go on training."""
    description = (
        "Train a score model or a classifier. Run again on the same workdir, it goes on "
        "where it stopped."
    )
    flags = Flags("train", description, required_config, config_help("required"))
    flags.string(
        "workdir", None, "folder for checkpoints, metrics and pictures; made if missing (required)"
    )
    flags.boolean("overwrite", False, OVERWRITE)
    values = flags.parse(argv)
    workdir = Path(require(values.workdir, "workdir", EXAMPLE)).expanduser()
    with StopRequest() as stop:
        with refusals():
            experiment = build(continued(workdir, values.config), AnyExperiment)
        return train_in(workdir, experiment, stop, overwrite=values.overwrite)
