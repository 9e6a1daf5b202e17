"""``score-sde train``: from a config to checkpoints, curves and sample grids."""

import json
from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path

from score_sde.builders import build, build_classifier, is_classifier
from score_sde.classifier import ClassifierExperiment
from score_sde.cli import report
from score_sde.cli.flags import Flags, config_help, refusals, require, required_config
from score_sde.cli.resume import check_resumes
from score_sde.cli.training_run import training_run
from score_sde.cli.workdir import EXAMPLE
from score_sde.evaluation.files import replacing
from score_sde.experiment import Experiment
from score_sde.training import train
from score_sde.training.mesh import check_batch_size, data_mesh

STOPPED = 75
"""The exit code of a run that was asked to stop, and can be run again (EX_TEMPFAIL)."""


def main(argv: Sequence[str]) -> int:
    """Train, or go on training."""
    description = "Train a score model. Run again on the same workdir, it goes on where it stopped."
    flags = Flags("train", description, required_config, config_help("required"))
    flags.string("workdir", None, "folder for checkpoints, metrics and pictures; made if missing (required)")
    values = flags.parse(argv)
    workdir = Path(require(values.workdir, "workdir", EXAMPLE)).expanduser()
    with refusals():
        experiment = (build_classifier if is_classifier(values.config) else build)(values.config)
        _prepare(workdir, experiment)
        run = training_run(experiment, workdir)
    with closing(run.writer), run.checkpoints or nullcontext():
        result = train(run)
    rows = {"trained": f"{int(result.state.step)} steps, {workdir / 'checkpoints'}"}
    report.record(workdir, rows)
    report.show(f"training in {workdir}", rows)
    return 0 if result.signum is None else STOPPED


def _prepare(workdir: Path, experiment: Experiment | ClassifierExperiment) -> None:
    """Make the folder and write its ``config.json``, once nothing speaks against it."""
    check_batch_size(data_mesh(), experiment.training.batch_size)
    check_resumes(workdir, experiment.model.config)
    report.make_folder(workdir)
    with replacing(workdir / "config.json") as temporary:
        temporary.write_text(json.dumps(experiment.model.config, indent=2) + "\n", encoding="utf-8")
