"""``score-sde likelihood``: bits per dimension of held-out data."""

from collections.abc import Sequence

import jax

from score_sde.cli.flags import MAX_SEED, refusals
from score_sde.cli.own_code import trust_of
from score_sde.cli.workdir import check_places, check_split, load_model, load_split, workdir_flags
from score_sde.data.examples import first
from score_sde.evaluation import likelihoods, report
from score_sde.evaluation.shared_work import remaining
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
    if values.dequantizer is not None:
        with refusals():
            allowed = trust_of(values).patterns
            model = likelihoods.with_dequantizer(model, values.dequantizer, allow=allowed)
    key, (examples, conditions) = jax.random.key(values.seed), load_split(model, values)
    total = min(len(examples), model.evaluating.max_examples or len(examples))
    pieces = likelihoods.shards_of(model, key, workdir, values.split, examples, conditions)
    with refusals():
        left = remaining(pieces, total)
    likelihoods.evaluate_missing(model, left, key, first(examples, total), conditions)
    try:
        if jax.process_index() == 0:
            rows = {
                f"likelihood, {values.split}": likelihoods.publish(model, pieces, total, path),
                "likelihoods": str(path),
            }
            report.record(workdir, rows)
            if total == len(examples):  # of fewer, a later run with more makes use
                pieces.remove(total)
            report.show(f"likelihood of {workdir}, step {model.step}", rows)
    finally:
        meet("the results are written")
    return 0
