"""``score-sde sample``: samples of a trained model, and their distances to held-out data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from score_sde.cli.command_flags import FLAGS
from score_sde.cli.flags import UsageError, require, usage_errors
from score_sde.cli.workdir import load_examples, load_model, result_folder
from score_sde.data import DataSource
from score_sde.evaluation import report, samples
from score_sde.evaluation.plots.samples import is_image
from score_sde.evaluation.shared_work import remaining
from score_sde.experiments.score_model import Model
from score_sde.runtime.processes import meet


def main(argv: Sequence[str]) -> int:
    """Draw samples, save them, and compare them with held-out data."""
    values = FLAGS["sample"]().parse(argv)
    model, workdir = load_model(values)
    source, missing = examples_if_there(model, values)
    target = target_of(values, model, workdir)
    key, num_samples = jax.random.key(values.seed), values.num_samples or model.drawing.num_samples
    shards = samples.shards_of(model, key, target.parent)
    with usage_errors():
        left = remaining(shards, num_samples)
    frames = samples.draw_missing(model, left, key)
    try:
        if jax.process_index() == 0:
            found = samples.publish(model, shards, num_samples, target)
            rows = samples.results(model, found, key, source, missing, frames)
            report.record(workdir, rows)
            shards.remove(num_samples)
            report.show(f"samples of {workdir}, step {model.step}", rows)
    finally:
        meet("the results are written")
    return 0


def target_of(values: Any, model: Model, workdir: Path) -> Path:
    """The file or folder of the samples, checked before any is drawn."""
    require(
        values.format == "npz" or is_image(model.shape, model.scaling),
        f"--format={values.format} is for images, and samples of this model have shape "
        f"{model.shape}: use --format=npz",
    )
    name = samples.TARGETS[values.format]
    return result_folder(values, workdir, "samples", [name, *samples.FIGURES]) / name


def examples_if_there(model: Model, values: Any) -> tuple[DataSource | None, str]:
    """The data of a model; or None and the reason, since samples can be drawn without data."""
    try:
        return load_examples(model, values), ""
    except UsageError as error:
        if not _is_missing(error):
            raise
        return None, str(error)


def _is_missing(error: BaseException | None) -> bool:
    """Whether an error means that data are not on this machine, or not the code that reads
    them.
    """
    missing = FileNotFoundError | ImportError
    return error is not None and (isinstance(error, missing) or _is_missing(error.__cause__))
