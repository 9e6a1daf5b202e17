"""``score-sde encode``: the latents of held-out data, and their reconstructions."""

from collections.abc import Sequence

import jax
import numpy as np

from score_sde.cli.command_flags import FLAGS
from score_sde.cli.workdir import load_model, load_split, result_folder
from score_sde.evaluation import report
from score_sde.evaluation.encoding import decoded, encoded, results
from score_sde.runtime.atomic_files import write_arrays


def main(argv: Sequence[str]) -> int:
    """Encode held-out examples, save their latents, decode these, and draw all three."""
    values = FLAGS["encode"]().parse(argv)
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
