"""``score-sde train-dequantizer``: a variational dequantizer for a score model."""

from collections.abc import Sequence

from score_sde.cli.allowed_code import patterns_of
from score_sde.cli.command_flags import FLAGS
from score_sde.cli.config_source import existing_workdir
from score_sde.cli.flags import usage_errors
from score_sde.cli.own_code import look_in_current_folder
from score_sde.cli.shared_flags import output_folder
from score_sde.cli.training import train_in
from score_sde.experiments.builders import build
from score_sde.experiments.dequantizer import DequantizerExperiment
from score_sde.experiments.loading import load
from score_sde.runtime.signals import StopRequest
from score_sde.runtime.trust import NOTHING, Trust


def main(argv: Sequence[str]) -> int:
    """Train a dequantizer, or resume its training; the score model does not change."""
    values = FLAGS["train-dequantizer"]().parse(argv)
    workdir = existing_workdir(values.workdir)
    with StopRequest() as stop:
        with usage_errors():
            folder = output_folder(values.output, workdir, "dequantizer")
            trust = Trust.of(patterns_of(values.allow_code))
            if trust != NOTHING:
                look_in_current_folder()
            model = load(workdir, step=values.checkpoint, allow=trust.patterns)
            options = {"score_model": model, "data_trust": trust}
            experiment = build(values.config, DequantizerExperiment, **options)
        return train_in(folder, experiment, stop, overwrite=values.overwrite, lock=values.lock)
