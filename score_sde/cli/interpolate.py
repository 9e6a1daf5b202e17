"""``score-sde interpolate``: from one held-out example to another, through the latent space."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from score_sde.cli.flags import MAX_SEED, Refusal
from score_sde.cli.workdir import check_split, load_model, load_split, result_folder, workdir_flags
from score_sde.evaluation import report
from score_sde.evaluation.interpolation import interpolation_paths, results

PAIRS = 8


def main(argv: Sequence[str]) -> int:
    """Encode pairs of examples, go on the sphere between their latents, decode, draw the ways."""
    description = (
        "Interpolate between held-out examples: encode both by the probability-flow ODE, go from "
        "latent to latent by\nspherical interpolation, and decode. Either the first pairs of the "
        "data (0 and 1, 2 and 3, …), or one pair."
    )
    flags = workdir_flags("interpolate", description)
    flags.string("split", "test", "test (held out) or train")
    flags.integer(
        "num_pairs",
        None,
        f"how many pairs, from the first on (default: {PAIRS}, or what there is)",
        at_least=1,
    )
    flags.integer(
        "first", None, "index of the first example of one pair (default: 0, with --second)"
    )
    flags.integer(
        "second", None, "index of the second example of one pair (default: 1, with --first)"
    )
    flags.integer("num_steps", 11, "steps of a way, both ends included", at_least=3)
    flags.number("temperature", 1.0, "factor of the latents: below 1, more typical and less varied")
    flags.shorthand("batch", "eval.batch_size", "how many at a time")
    flags.integer("seed", 0, "seed of the dequantisation", at_most=MAX_SEED)
    flags.string("output", None, "folder for the results (default: interpolation in the workdir)")
    values = flags.parse(argv)
    check_split(values.split)
    if not 0.0 < values.temperature < float("inf"):
        raise Refusal(f"--temperature must be positive and finite, got {values.temperature}")
    model, workdir = load_model(values)
    examples, conditions = load_split(model, values)
    pairs = pairs_of(values, len(examples))
    files = ["interpolation.npz", "interpolation.png"]
    folder = result_folder(values, workdir, "interpolation", files)
    options = {"num_steps": values.num_steps, "temperature": values.temperature}
    options["conditions"] = conditions
    ways = interpolation_paths(model, jax.random.key(values.seed), examples, pairs, **options)
    rows = results(model, ways, examples, folder)
    rows = {f"interpolation, {values.split}": ways.summary, **rows}
    report.record(workdir, rows)
    report.show(f"interpolation of {workdir}, step {model.step}", rows)
    return 0


def pairs_of(values: Any, num_examples: int) -> np.ndarray:
    """The indices ``[pairs, 2]`` of the examples that the flags ask for, checked to be there."""
    there = f"{values.split} has {num_examples}"
    if values.first is None and values.second is None:
        num_pairs = values.num_pairs or max(1, min(PAIRS, num_examples // 2))
        if 2 * num_pairs > num_examples:
            raise Refusal(f"--num_pairs={num_pairs} needs {2 * num_pairs} examples, {there}")
        return np.arange(2 * num_pairs).reshape(num_pairs, 2)
    if values.num_pairs is not None:
        raise Refusal("--num_pairs and --first, --second exclude each other")
    chosen = {"first": values.first or 0, "second": 1 if values.second is None else values.second}
    for name, index in chosen.items():
        if index >= num_examples:
            raise Refusal(f"--{name}={index} is too large: {there} examples, counted from 0")
    if chosen["first"] == chosen["second"]:
        raise Refusal(f"--first and --second must be two examples, got {chosen['first']} twice")
    return np.array([list(chosen.values())])
