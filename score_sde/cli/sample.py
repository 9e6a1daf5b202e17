"""``score-sde sample``: images from a trained model, and how far they are from held-out data."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from score_sde.cli import report
from score_sde.cli.flags import MAX_SEED, Refusal, refusals
from score_sde.cli.workdir import load_examples, load_model, workdir_flags
from score_sde.data import DataSource
from score_sde.evaluation import sample_distances
from score_sde.evaluation.files import replacing
from score_sde.evaluation.generation import generate, make_draw
from score_sde.evaluation.pictures import is_image, picture_of_samples, pictures_of_path
from score_sde.experiment import Model
from score_sde.training import Progress

FRAMES = 49


def main(argv: Sequence[str]) -> int:
    """Draw samples, save them, and compare them with held-out data."""
    description = "Draw samples from a trained model. Sample i depends on the seed and i alone."
    flags = workdir_flags("sample", description)
    flags.integer("num_samples", None, "how many (default: sampling.num_samples of the config)", at_least=1)
    flags.integer("seed", 0, "seed of the samples", at_most=MAX_SEED)
    values = flags.parse(argv)
    model, workdir = load_model(values)
    source, missing = examples_if_there(model)
    folder = workdir / "samples"
    with refusals():
        report.make_folder(folder)
    key = jax.random.key(values.seed)
    samples, nfe = draw_all(model, key, values.num_samples or model.drawing.num_samples)
    levels = np.asarray(model.scaling.to_data(samples))
    with replacing(folder / "samples.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, samples=levels)
    rows = {"samples": f"{len(levels)} of {type(model.sampler).__name__}, {nfe} evaluations each, {folder}/samples.npz"}
    data = None if source is None else source.test
    picture = picture_of_samples(folder, "samples", samples, data, model.scaling, score_fn=model.score_fn)
    rows |= {} if picture is None else {"picture": str(picture)}
    rows |= draw_path(model, key, folder)
    rows |= distances(key, levels, source) if source else {"distances": f"none, for the data are not here: {missing}"}
    report.record(workdir, rows)
    report.show(f"samples of {workdir}, step {model.step}", rows)
    return 0


def draw_all(model: Model, key: jax.Array, num_samples: int) -> tuple[np.ndarray, int]:
    """All samples in model units, and the mean number of evaluations."""
    draw = make_draw(model.sde, model.score_fn_of, model.sampler, model.shape, denoise=model.drawing.denoise)
    batches = []
    with Progress("sample", num_samples, unit="samples") as progress:
        for batch in generate(draw, model.params, key, num_samples, min(model.drawing.batch_size, num_samples)):
            batches.append(batch)
            progress.update(sum(len(done.x) for done in batches))
    samples = np.concatenate([batch.x for batch in batches])
    if not np.isfinite(samples).all():
        raise FloatingPointError("some samples are not finite: more steps (num_steps, max_steps) or a longer training")
    return samples, round(float(np.mean(np.concatenate([batch.nfe for batch in batches]))))


def draw_path(model: Model, key: jax.Array, folder: Path) -> dict[str, str]:
    """The way from noise to image of the first samples, as a strip and an animation."""
    if not is_image(model.shape, model.scaling):
        return {}
    draw = make_draw(model.sde, model.score_fn_of, model.sampler, model.shape, save_path=FRAMES)
    batch = next(generate(draw, model.params, key, 16, 16))
    frames = np.concatenate([np.moveaxis(np.asarray(batch.path), 1, 0), batch.x[None]])
    return {name: str(path) for name, path in pictures_of_path(folder, frames, model.scaling).items()}


def examples_if_there(model: Model) -> tuple[DataSource | None, str]:
    """The data of a model, or None and what is missing: a model from elsewhere can be drawn from without them."""
    try:
        return load_examples(model), ""
    except Refusal as refusal:
        if not isinstance(refusal.__cause__, FileNotFoundError):
            raise
        return None, str(refusal)


def distances(key: jax.Array, levels: np.ndarray, source: DataSource) -> dict[str, str]:
    """Distances of the samples to held-out data, beside those of as many training examples: the least to hope for."""
    count = min(len(levels), len(source.test), len(source.train))
    if count < 2:
        return {}
    scale = 1 if source.num_levels is None else source.num_levels - 1
    test = source.test[:count] / scale
    found, least = (sample_distances(key, x[:count] / scale, test) for x in (levels, source.train))
    return {
        f"distance: {name}": f"{value:.4f} (training data: {least[name]:.4f}), {count} examples of each"
        for name, value in found.items()
    }
