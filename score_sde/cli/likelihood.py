"""``score-sde likelihood``: the likelihood of held-out data in bits per dimension."""

from collections.abc import Sequence

import jax

from score_sde.cli.allowed_code import trust_of
from score_sde.cli.command_flags import FLAGS
from score_sde.cli.flags import usage_errors
from score_sde.cli.workdir import check_places, load_model, load_split
from score_sde.data.examples import first
from score_sde.evaluation import likelihoods, report
from score_sde.evaluation.shared_work import remaining
from score_sde.runtime.processes import meet


def main(argv: Sequence[str]) -> int:
    """Compute the likelihood of every held-out example once, and save the results."""
    values = FLAGS["likelihood"]().parse(argv)
    model, workdir = load_model(values)
    path = workdir / f"likelihood_{values.split}.npz"
    check_places(values, workdir, [path])
    if values.dequantizer is not None:
        with usage_errors():
            allowed = trust_of(values).patterns
            model = likelihoods.with_dequantizer(model, values.dequantizer, allow=allowed)
    key, (examples, conditions) = jax.random.key(values.seed), load_split(model, values)
    total = min(len(examples), model.evaluating.max_examples or len(examples))
    shards = likelihoods.shards_of(model, key, workdir, values.split, examples, conditions)
    with usage_errors():
        left = remaining(shards, total)
    likelihoods.evaluate_missing(model, left, key, first(examples, total), conditions)
    try:
        if jax.process_index() == 0:
            rows = {
                f"likelihood, {values.split}": likelihoods.publish(model, shards, total, path),
                "likelihoods": str(path),
            }
            report.record(workdir, rows)
            if total == len(examples):  # of fewer, a later run with more makes use
                shards.remove(total)
            report.show(f"likelihood of {workdir}, step {model.step}", rows)
    finally:
        meet("the results are written")
    return 0
