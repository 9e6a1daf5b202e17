"""``score-sde encode``: the latents of held-out data, and what is decoded from them."""

from collections.abc import Sequence

import jax
import numpy as np

from score_sde.cli.flags import MAX_SEED
from score_sde.cli.workdir import check_split, load_model, load_split, result_folder, workdir_flags
from score_sde.evaluation import report
from score_sde.evaluation.encoding import decoded, encoded, results
from score_sde.runtime.atomic_files import write_arrays


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
    chosen = slice(model.evaluating.max_examples)
    examples, conditions = load_split(model, values)
    examples = np.asarray(examples[chosen])
    conditions = jax.tree.map(lambda each: each[chosen], conditions)
    folder = result_folder(values, workdir, "latents", ["latents.npz", "latents.png"])
    key, indices = jax.random.key(values.seed), np.arange(len(examples))
    found = encoded(model, key, examples, indices, conditions)
    path = folder / "latents.npz"
    write_arrays(path, latent=found.latent, levels=examples)
    again = decoded(model, np.asarray(found.latent), conditions)
    rows = results(model, found, again, folder)
    rows = {f"latents, {values.split}": f"{len(examples)} examples, {path}", **rows}
    report.record(workdir, rows)
    report.show(f"latents of {workdir}, step {model.step}", rows)
    return 0
