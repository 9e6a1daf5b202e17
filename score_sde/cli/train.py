"""``score-sde train``: training by a config, with checkpoints, metrics and sample grids."""

from collections.abc import Sequence
from pathlib import Path

from score_sde.cli.flags import Flags, config_help, given, required_config, usage_errors
from score_sde.cli.shared_flags import EXAMPLE, add_overwrite
from score_sde.cli.training import train_in
from score_sde.experiments.base import AnyExperiment
from score_sde.experiments.builders import build
from score_sde.experiments.resume import continued
from score_sde.runtime.signals import StopRequest


def main(argv: Sequence[str]) -> int:
    """Train, or resume a training run."""
    description = (
        "Train a score model or a classifier. The same command resumes an interrupted run in its "
        "workdir."
    )
    flags = Flags("train", description, required_config, config_help("required"))
    flags.string(
        "workdir", None, "folder for checkpoints, metrics and figures; made if missing (required)"
    )
    add_overwrite(flags)
    values = flags.parse(argv)
    workdir = Path(given(values.workdir, "workdir", EXAMPLE)).expanduser()
    with StopRequest() as stop:
        with usage_errors():
            experiment = build(continued(workdir, values.config), AnyExperiment)
        return train_in(workdir, experiment, stop, overwrite=values.overwrite)
