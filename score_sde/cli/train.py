"""``score-sde train``: training by a config, with checkpoints, metrics and sample grids."""

from collections.abc import Sequence

from score_sde.cli.command_flags import FLAGS
from score_sde.cli.config_source import EXAMPLE
from score_sde.cli.flags import given, usage_errors
from score_sde.cli.training import train_in
from score_sde.experiments.base import AnyExperiment
from score_sde.experiments.builders import build
from score_sde.experiments.resume import continued
from score_sde.runtime.signals import StopRequest
from score_sde.runtime.working_copy import local_path


def main(argv: Sequence[str]) -> int:
    """Train, or resume a training run."""
    values = FLAGS["train"]().parse(argv)
    with StopRequest() as stop:
        with usage_errors():
            workdir = local_path(given(values.workdir, "workdir", EXAMPLE))
            experiment = build(continued(workdir, values.config), AnyExperiment)
        return train_in(workdir, experiment, stop, overwrite=values.overwrite)
