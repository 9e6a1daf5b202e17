"""``score-sde encode``: the latents of held-out data, and what is decoded from them."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from score_sde.cli.encoding_run import decoded, encoded, output_folder
from score_sde.cli.flags import MAX_SEED
from score_sde.cli.workdir import check_places, check_split, load_model, load_split, workdir_flags
from score_sde.evaluation import report
from score_sde.evaluation.encoding import Encoded
from score_sde.evaluation.plots.latents import picture_of_latents
from score_sde.experiments.score_model import Model
from score_sde.runtime.atomic_files import write_arrays
from score_sde.sampling.latents import mean_square


def main(argv: Sequence[str]) -> int:
    """Encode held-out examples, save their latents, decode them again, and draw all three."""
    description = (
        "Encode held-out data by the probability-flow ODE, from eval.t_min to the latent at t_max, "
        "and decode them\n"
        "again, both to the tolerances of the section eval."
    )
    flags = workdir_flags("encode", description)
    flags.string("split", "test", "test (held out) or train")
    flags.shorthand("num_examples", "eval.max_examples", "how many, from the first on")
    flags.shorthand("batch", "eval.batch_size", "how many at a time")
    flags.integer("seed", 0, "seed of the dequantisation", at_most=MAX_SEED)
    flags.string("output", None, "folder for the results (default: latents in the workdir)")
    values = flags.parse(argv)
    check_split(values.split)
    model, workdir = load_model(values)
    examples = np.asarray(load_split(model, values)[: model.evaluating.max_examples])
    folder = output_folder(values.output, workdir / "latents")
    check_places(values, workdir, [folder / "latents.npz", folder / "latents.png"])
    found = encoded(model, jax.random.key(values.seed), examples, np.arange(len(examples)))
    path = folder / "latents.npz"
    write_arrays(path, latent=found.latent, levels=examples)
    rows = results(model, found, decoded(model, np.asarray(found.latent)), folder)
    rows = {f"latents, {values.split}": f"{len(examples)} examples, {path}", **rows}
    report.record(workdir, rows)
    report.show(f"latents of {workdir}, step {model.step}", rows)
    return 0


def results(
    model: Model, found: Encoded, reconstruction: np.ndarray, folder: Path
) -> dict[str, str]:
    """How near the latents are to the prior, and the reconstructions to the examples;
    and a picture of all.
    """
    squares = np.asarray(jax.vmap(lambda latent: mean_square(model.sde, latent))(found.latent))
    error = np.sqrt(np.mean(np.square(reconstruction - np.asarray(found.x)), dtype=np.float64))
    size, unit = error, "in the units of the data"
    if model.scaling.num_levels is not None:
        size, unit = error / model.scaling.bin_width, "levels"
    elif model.scaling.standardized:
        unit = "standard deviations of the data"
    spread = squares.std(ddof=1) / np.sqrt(len(squares)) if len(squares) > 1 else np.nan
    rows = {
        "mean square of the latents": f"{squares.mean():.4f} ± {spread:.4f} (the prior's is 1)",
        "reconstruction error": f"{size:.2g} {unit}, root mean square",
    }
    path, units = (
        folder / "latents.png",
        {"scaling": model.scaling, "prior_std": model.sde.prior_std()},
    )
    picture = picture_of_latents(path, found, reconstruction, **units)
    return rows | ({} if picture is None else {"picture of latents": str(picture)})
