"""``score-sde train-dequantizer``: a variational dequantizer for a score model."""

from collections.abc import Sequence
from functools import partial

from score_sde.cli.flags import Flags, config_help, required_config, usage_errors
from score_sde.cli.own_code import look_in_current_folder, patterns_of
from score_sde.cli.shared_flags import (
    add_allow_code,
    add_checkpoint,
    add_overwrite,
    add_workdir,
    output_folder,
)
from score_sde.cli.training import train_in
from score_sde.cli.workdir import existing_workdir
from score_sde.experiments.builders import build
from score_sde.experiments.dequantizer import DequantizerExperiment
from score_sde.experiments.loading import load
from score_sde.runtime.signals import StopRequest
from score_sde.runtime.trust import NOTHING, Trust

CONFIG = "dequantizer/digits"


def main(argv: Sequence[str]) -> int:
    """Train a dequantizer, or resume its training; the score model does not change."""
    description = (
        "Train a variational dequantizer for the score model of a workdir. With it `score-sde "
        "likelihood\n"
        "--dequantizer=FOLDER` computes a tighter likelihood bound than with uniform "
        "dequantization.\n"
        "The same command resumes an interrupted run."
    )
    read_config = partial(required_config, example=CONFIG)
    flags = Flags("train-dequantizer", description, read_config, config_help("required", CONFIG))
    add_workdir(flags, "the score model")
    add_checkpoint(flags)
    flags.string("output", None, "folder for the dequantizer (default: dequantizer in the workdir)")
    add_allow_code(flags)
    add_overwrite(flags)
    values = flags.parse(argv)
    workdir = existing_workdir(values.workdir)
    folder = output_folder(values.output, workdir, "dequantizer")
    with StopRequest() as stop:
        with usage_errors():
            trust = Trust.of(patterns_of(values.allow_code))
            if trust != NOTHING:
                look_in_current_folder()
            model = load(workdir, step=values.checkpoint, allow=trust.patterns)
            options = {"score_model": model, "data_trust": trust}
            experiment = build(values.config, DequantizerExperiment, **options)
        return train_in(folder, experiment, stop, overwrite=values.overwrite)
