"""``score-sde sample``: images from a trained model, and how far they are from held-out data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from score_sde.cli.flags import MAX_SEED, Refusal, refusals
from score_sde.cli.workdir import load_examples, load_model, result_folder, workdir_flags
from score_sde.data import DataSource
from score_sde.evaluation import report, samples
from score_sde.evaluation.plots.samples import is_image
from score_sde.evaluation.shared_work import remaining
from score_sde.experiments.score_model import Model
from score_sde.runtime.processes import meet


def main(argv: Sequence[str]) -> int:
    """Draw samples, save them, and compare them with held-out data."""
    description = (
        "Draw samples from a trained model. Sample i depends on the seed and i alone. A run that "
        "was interrupted goes\non where it was if it is asked for the same; processes of one "
        "launcher (srun, mpirun) share the work."
    )
    flags = workdir_flags("sample", description)
    flags.shorthand("sampler", "sampling.name", "how to sample, as ddim or package.module:Name")
    flags.integer(
        "num_samples", None, "how many (default: sampling.num_samples of the config)", at_least=1
    )
    flags.shorthand("classes", "sampling.classes", "classes of the samples in turn, as 0,1,2")
    flags.shorthand("batch", "sampling.batch_size", "how many at a time, in each process")
    flags.integer("seed", 0, "seed of the samples", at_most=MAX_SEED)
    flags.string("format", "npz", "npz, one file, or png, a folder of images")
    flags.string("output", None, "folder for the results (default: samples in the workdir)")
    values = flags.parse(argv)
    model, workdir = load_model(values)
    source, missing = examples_if_there(model, values)
    target = target_of(values, model, workdir)
    key, num_samples = jax.random.key(values.seed), values.num_samples or model.drawing.num_samples
    pieces = samples.shards_of(model, key, target.parent)
    with refusals():
        left = remaining(pieces, num_samples)
    samples.draw_missing(model, left, key)
    try:
        if jax.process_index() == 0:
            found = samples.publish(model, pieces, num_samples, target)
            rows = samples.results(model, found, key, source, missing)
            report.record(workdir, rows)
            pieces.remove(num_samples)
            report.show(f"samples of {workdir}, step {model.step}", rows)
    finally:
        meet("the results are written")
    return 0


def target_of(values: Any, model: Model, workdir: Path) -> Path:
    """The file or folder of all samples, checked to be possible before any is drawn."""
    if values.format not in samples.TARGETS:
        raise Refusal(f"--format must be npz or png, got {values.format!r}")
    if values.format == "png" and not is_image(model.shape, model.scaling):
        raise Refusal(
            f"--format=png is for images; this model draws samples of shape {model.shape}: take "
            "--format=npz"
        )
    name = samples.TARGETS[values.format]
    return result_folder(values, workdir, "samples", [name, *samples.FIGURES]) / name


def examples_if_there(model: Model, values: Any) -> tuple[DataSource | None, str]:
    """The data of a model, or None and what is missing: samples can be drawn without them."""
    try:
        return load_examples(model, values), ""
    except Refusal as refusal:
        if not isinstance(refusal.__cause__, FileNotFoundError):
            raise
        return None, str(refusal)
