"""``score-sde likelihood``: bits per dimension of held-out data."""

from collections.abc import Sequence

import jax
import numpy as np

from score_sde.cli import report
from score_sde.cli.flags import MAX_SEED, Refusal
from score_sde.cli.workdir import load_examples, load_model, workdir_flags
from score_sde.evaluation.files import replacing
from score_sde.evaluation.likelihoods import Likelihoods, evaluate_all, make_evaluate
from score_sde.experiment import Model
from score_sde.training import Progress


def main(argv: Sequence[str]) -> int:
    """Compute the likelihood of every held-out example once, and save them all."""
    flags = workdir_flags("likelihood", "Compute the exact likelihood of held-out data, by the probability-flow ODE.")
    flags.string("split", "test", "test (held out) or train")
    flags.integer("seed", 0, "seed of the dequantisation and of the probes", at_most=MAX_SEED)
    values = flags.parse(argv)
    if values.split not in ("test", "train"):
        raise Refusal(f"--split must be test or train, got {values.split!r}")
    model, workdir = load_model(values)
    examples = getattr(load_examples(model), values.split)[: model.evaluating.max_examples]
    found = likelihoods(model, jax.random.key(values.seed), examples)
    path = workdir / f"likelihood_{values.split}.npz"
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **found._asdict())
    rows = {f"likelihood, {values.split}": summary(found, model), "likelihoods": str(path)}
    report.record(workdir, rows)
    report.show(f"likelihood of {workdir}, step {model.step}", rows)
    return 0


def likelihoods(model: Model, key: jax.Array, examples: np.ndarray) -> Likelihoods:
    """The likelihood of each example, with a progress bar."""
    options = model.evaluating
    evaluate = make_evaluate(
        model.sde,
        model.score_fn_of,
        model.scaling,
        divergence=options.divergence,
        rtol=options.rtol,
        atol=options.atol,
        t_min=options.t_min,
    )
    batches: list[Likelihoods] = []
    batch_size = min(options.batch_size, len(examples))
    with Progress("likelihood", len(examples), unit="examples") as progress:
        for batch in evaluate_all(evaluate, model.params, key, examples, model.scaling, batch_size=batch_size):
            batches.append(batch)
            progress.update(sum(len(done.nfe) for done in batches))
    found = Likelihoods(*(np.concatenate(field) for field in zip(*batches, strict=True)))
    if not np.isfinite(found.log_prob).all():
        raise FloatingPointError("some likelihoods are not finite: the adaptive solve did not reach its end")
    return found


def summary(found: Likelihoods, model: Model) -> str:
    """Mean and standard error over the examples."""
    discrete = model.scaling.num_levels is not None
    values, unit = (found.bits_per_dim, "bits/dim") if discrete else (found.log_prob, "nats")
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return (
        f"{np.mean(values):.4f} ± {error:.4f} {unit} over {len(values)} examples, {np.mean(found.nfe):.0f} evaluations"
    )
