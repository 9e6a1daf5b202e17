"""``score-sde likelihood``: bits per dimension of held-out data."""

from collections.abc import Sequence

import jax
import numpy as np

from score_sde.cli.flags import MAX_SEED
from score_sde.cli.likelihood_run import evaluate_missing, pieces_of, with_dequantizer
from score_sde.cli.workdir import check_places, check_split, load_model, load_split, workdir_flags
from score_sde.data.examples import first
from score_sde.evaluation import report
from score_sde.evaluation.likelihoods import Likelihoods
from score_sde.runtime.atomic_files import write_arrays
from score_sde.runtime.processes import meet


def main(argv: Sequence[str]) -> int:
    """Compute the likelihood of every held-out example once, and save them all."""
    description = (
        "Compute the likelihood of held-out data, every example once: exactly, by the "
        "probability-flow ODE, or a\n"
        "lower bound, as the section eval of the config says. A run that was interrupted goes on "
        "where it was if it\n"
        "is asked for the same, and a run of more examples makes use of one of fewer; processes of "
        "one launcher\n"
        "(srun, mpirun) share the work."
    )
    flags = workdir_flags("likelihood", description)
    flags.string("split", "test", "test (held out) or train")
    flags.string(
        "dequantizer",
        None,
        "folder of a trained dequantizer (default: that of --config.eval.dequantizer)",
    )
    flags.shorthand("num_examples", "eval.max_examples", "how many, from the first on")
    flags.shorthand("batch", "eval.batch_size", "how many at a time, in each process")
    flags.integer("seed", 0, "seed of the dequantisation and of the probes", at_most=MAX_SEED)
    values = flags.parse(argv)
    check_split(values.split)
    model, workdir = load_model(values)
    path = workdir / f"likelihood_{values.split}.npz"
    check_places(values, workdir, [path])
    model = with_dequantizer(model, values.dequantizer, values)
    key, examples = jax.random.key(values.seed), load_split(model, values)
    total = min(len(examples), model.evaluating.max_examples or len(examples))
    pieces = pieces_of(model, key, workdir, values.split, examples)
    evaluate_missing(model, pieces, key, first(examples, total))
    try:
        if jax.process_index() == 0:
            found = Likelihoods.concatenated(pieces.read(total))
            write_arrays(path, **found._asdict())
            num_points = (
                None if model.scaling.num_levels is None else model.evaluating.num_dequantizations
            )
            rows = {
                f"likelihood, {values.split}": summary(found, num_points),
                "likelihoods": str(path),
            }
            report.record(workdir, rows)
            if total == len(examples):  # of fewer, a later run with more makes use
                pieces.remove(total)
            report.show(f"likelihood of {workdir}, step {model.step}", rows)
    finally:
        meet("the results are written")
    return 0


def summary(found: Likelihoods, num_points: int | None) -> str:
    """Mean and standard error over the examples, their cost, and what tolerance and
    noise have moved the mean by.

    ``num_points``: those in the bins of an example, or None for continuous data.
    """
    discrete = num_points is not None
    values, unit = (found.bits_per_dim, "bits/dim") if discrete else (found.log_prob, "nats")
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    text = f"{np.mean(values):.4f} ± {error:.4f} {unit} over {len(values)} examples, "
    text += f"{np.mean(found.nfe):.0f} evaluations"
    scale = np.abs(np.mean(values) / np.mean(found.log_prob))
    if np.isfinite(found.solver_error).all():
        text += f", moved by {scale * np.mean(found.solver_error):.2g} by the tolerance"
    # The weighted mean of n points has at least an n-th of the variance of one, which
    # lifts a logarithm by half of it.
    lift = scale * 0.5 * (num_points or 1) * np.mean(np.square(found.std_error))
    if discrete and num_points > 1 and lift != 0.0:
        amount = (
            f"up to {lift:.2g}"
            if np.isfinite(lift)
            else "an unknown amount (of a single probe no error is known)"
        )
        text += f", no bound, for the noise of the points makes it better by {amount}"
    return text
