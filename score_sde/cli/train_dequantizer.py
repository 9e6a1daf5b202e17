"""``score-sde train-dequantizer``: a density on the bins of discrete data, learned for
a score model.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from score_sde.cli.flags import Flags, config_help, refusals, required_config
from score_sde.cli.own_code import ALLOW_CODE, look_in_current_folder, patterns_of
from score_sde.cli.own_files import OVERWRITE
from score_sde.cli.training import train_in
from score_sde.cli.workdir import EXAMPLE, existing_workdir
from score_sde.experiments.builders import build
from score_sde.experiments.dequantizer import DequantizerExperiment
from score_sde.experiments.loading import load
from score_sde.runtime.signals import StopRequest
from score_sde.runtime.trust import NOTHING, Trust

CONFIG = "dequantizer/digits"


def main(argv: Sequence[str]) -> int:
    """Train, or go on training; the score model stays as it is."""
    description = (
        "Train a dequantizer for the score model of a workdir: a density on the bins of its "
        "levels, by which\n"
        "`score-sde likelihood --dequantizer` bounds their probability more tightly than by "
        "uniform points.\n"
        "Run again, it goes on where it stopped."
    )
    read_config = partial(required_config, example=CONFIG)
    flags = Flags("train-dequantizer", description, read_config, config_help("required", CONFIG))
    flags.string(
        "workdir",
        None,
        f"folder of the training run of the score model, for example {EXAMPLE} (required)",
    )
    flags.integer("checkpoint", None, "step of its checkpoint (default: the latest)")
    flags.string("output", None, "folder for the dequantizer (default: dequantizer in the workdir)")
    flags.string("allow_code", None, ALLOW_CODE)
    flags.boolean("overwrite", False, OVERWRITE)
    values = flags.parse(argv)
    workdir = existing_workdir(values.workdir)
    folder = Path(values.output).expanduser() if values.output else workdir / "dequantizer"
    with StopRequest() as stop:
        with refusals():
            trust = Trust.of(patterns_of(values.allow_code))
            if trust != NOTHING:
                look_in_current_folder()
            model = load(workdir, step=values.checkpoint, allow=trust.patterns)
            options = {"score_model": model, "data_trust": trust}
            experiment = build(values.config, DequantizerExperiment, **options)
        return train_in(folder, experiment, stop, overwrite=values.overwrite)
