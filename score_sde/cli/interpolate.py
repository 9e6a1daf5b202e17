"""``score-sde interpolate``: interpolation between held-out examples in the latent space."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from score_sde.cli.command_flags import FLAGS, PAIRS
from score_sde.cli.flags import require
from score_sde.cli.workdir import load_model, load_split, result_folder
from score_sde.evaluation import report
from score_sde.evaluation.interpolation import interpolation_paths, results


def main(argv: Sequence[str]) -> int:
    """Encode pairs of examples, interpolate between their latents, decode, and draw the paths."""
    values = FLAGS["interpolate"]().parse(argv)
    require(
        0.0 < values.temperature < float("inf"),
        f"--temperature={values.temperature} must be positive and finite",
    )
    model, workdir = load_model(values)
    examples, conditions = load_split(model, values)
    pairs = pairs_of(values, len(examples))
    files = ["interpolation.npz", "interpolation.png"]
    folder = result_folder(values, workdir, "interpolation", files)
    options = {"num_steps": values.num_steps, "temperature": values.temperature}
    options["conditions"] = conditions
    paths = interpolation_paths(model, jax.random.key(values.seed), examples, pairs, **options)
    rows = results(model, paths, examples, folder)
    rows = {f"interpolation, {values.split}": paths.summary, **rows}
    report.record(workdir, rows)
    report.show(f"interpolation of {workdir}, step {model.step}", rows)
    return 0


def pairs_of(values: Any, num_examples: int) -> np.ndarray:
    """The indices ``[pairs, 2]`` of the examples that the flags choose, within the split."""
    if values.first is None and values.second is None:
        num_pairs = values.num_pairs or max(1, min(PAIRS, num_examples // 2))
        right = f"at most {num_examples // 2}, as there are {num_examples} {values.split} examples"
        require(2 * num_pairs <= num_examples, f"--num_pairs={num_pairs} must be {right}")
        return np.arange(2 * num_pairs).reshape(num_pairs, 2)
    require(values.num_pairs is None, "--num_pairs and --first, --second exclude each other")
    chosen = {"first": values.first or 0, "second": 1 if values.second is None else values.second}
    for name, index in chosen.items():
        right = f"less than {num_examples}, the number of {values.split} examples"
        require(index < num_examples, f"--{name}={index} must be {right}")
    first, second = chosen.values()
    require(first != second, f"--first={first} must be another example than --second={second}")
    return np.array([[first, second]])
