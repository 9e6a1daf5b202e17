"""The likelihoods of a data set, each example once: in shards that processes share,
then in one file.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from score_sde import checks
from score_sde.data import Examples, Scaling, examples_digest
from score_sde.evaluation import shared_work
from score_sde.evaluation.generation import (
    AXIS,
    SOLVE_FAILED,
    check_finite,
    index_keys,
    over_devices,
)
from score_sde.evaluation.shards import Shard, Shards
from score_sde.evaluation.shared_work import Remaining
from score_sde.experiments.dequantizer import LearnedDequantizer
from score_sde.experiments.loading import load
from score_sde.experiments.score_model import Model
from score_sde.likelihood.dequantization import Dequantizer
from score_sde.likelihood.estimators import LogProbEstimate
from score_sde.likelihood.flow import bits_per_dim
from score_sde.runtime.atomic_files import write_arrays
from score_sde.runtime.fingerprints import digest_with_arrays
from score_sde.runtime.progress import ProgressBar
from score_sde.runtime.trust import Allow
from score_sde.typing import Key, Params

WITHOUT_EFFECT = ("max_examples", "batch_size")
"""The options of the section ``eval`` on which no likelihood depends."""

NUM_WITNESSES = 1024
"""The number of examples of files that a fingerprint is computed from."""

Evaluate = Callable[[Params, Array, Array, Any], LogProbEstimate]
"""``(params, keys [b], raw examples [b, *shape], conditions) ->`` estimates of their
log-likelihoods; ``conditions`` are a pytree of arrays ``[b, ...]``, or None.
"""


class Likelihoods(NamedTuple):
    """Arrays of one entry an example.

    Attributes:
        log_prob: in nats; the log probability of data with levels, the log density of
            continuous data in their units.
        bits_per_dim: of data with levels; NaN for continuous data.
        std_error: of ``log_prob``, as in `LogProbEstimate`.
        solver_error: of ``log_prob``, as in `LogProbEstimate`.
        nfe: the score evaluations.
    """

    log_prob: Float[np.ndarray, " n"]
    bits_per_dim: Float[np.ndarray, " n"]
    std_error: Float[np.ndarray, " n"]
    solver_error: Float[np.ndarray, " n"]
    nfe: Int[np.ndarray, " n"]

    @classmethod
    def concatenated(cls, parts: Iterable[Mapping[str, np.ndarray]]) -> "Likelihoods":
        """The entries of all parts, one part after the other."""
        parts = list(parts)
        return cls(**{name: np.concatenate([part[name] for part in parts]) for name in cls._fields})


def make_evaluate(model: Model) -> Evaluate:
    """The compiled `Model.log_likelihood` of a batch of raw examples."""

    def evaluate(
        params: Params,
        dequantizer: Dequantizer | None,
        keys: Array,
        examples: Array,
        conditions: Any,
    ) -> LogProbEstimate:
        # The dequantizer is an argument, since a learned one has parameters.
        chosen = replace(model, evaluating=replace(model.evaluating, dequantizer=dequantizer))
        return jax.vmap(
            lambda key, example, condition: chosen.log_likelihood(params, key, example, condition),
            axis_name=AXIS,
        )(keys, examples, conditions)

    compiled, dequantizer = jax.jit(evaluate), model.evaluating.dequantizer
    return lambda params, keys, examples, conditions: compiled(
        params,
        dequantizer,
        *(jax.tree.map(over_devices, part) for part in (keys, examples, conditions)),
    )


def evaluate_range(
    evaluate: Evaluate,
    params: Params,
    key: Key,
    examples: Examples,
    scaling: Scaling,
    indices: range,
    batch_size: int,
    conditions: Any = None,
) -> Likelihoods:
    """The likelihoods of at most ``batch_size`` examples; a batch is padded, so that
    all batches have one shape.

    Example ``i`` is evaluated with the key ``fold_in(key, i)``, whatever its batch, and
    with the condition ``i``.
    """
    rows = np.arange(indices.start, indices.start + batch_size)
    padded = np.where(rows < indices.stop, rows, 0)
    batch = jnp.asarray(examples[padded]), jax.tree.map(lambda each: each[padded], conditions)
    found = jax.device_get(evaluate(params, index_keys(key, rows), *batch))
    num_dims, discrete = int(np.prod(examples.shape[1:])), scaling.num_levels is not None
    bits = (
        _bits_per_dim(found.log_prob, num_dims, bin_width=1.0)
        if discrete
        else found.log_prob * np.nan
    )
    missing = np.full_like(found.log_prob, np.nan)
    fields = (missing if field is None else field for field in found[1:])
    row = Likelihoods(found.log_prob, np.asarray(bits), *fields)
    return Likelihoods(*(field[: len(indices)] for field in row))


_bits_per_dim = jax.jit(bits_per_dim, static_argnames=("num_dims", "bin_width"))


def with_dequantizer(model: Model, folder: str | Path, *, allow: Allow = ()) -> Model:
    """The model with the trained dequantizer of a folder in place of its own.

    ``allow`` names the code that the config in the folder may import, as in `load`.

    Raises:
        FileNotFoundError: there is no dequantizer in the folder.
        ValueError: it is damaged, names code that is not allowed, or is for other data.
    """
    found = load(folder, LearnedDequantizer, allow=allow)
    ours, theirs = (
        (part.shape, part.scaling.num_levels, part.scaling.bins) for part in (model, found)
    )
    checks.require(
        ours == theirs,
        f"the dequantizer in {folder} is for (shape, levels, bins) {theirs}, the model for {ours}",
    )
    return replace(model, evaluating=replace(model.evaluating, dequantizer=found.dequantizer))


def shards_of(
    model: Model, key: Key, folder: Path, split: str, examples: Examples, conditions: Any = None
) -> Shards:
    """The shards of a request: the likelihood of example ``i`` depends on the model,
    the options, the key and the example alone.

    ``examples`` are the whole split, so that requests for different numbers of examples
    share their shards. Examples in files are represented by ``NUM_WITNESSES`` of them,
    evenly spread.
    """
    options = shared_work.options_of(model, "eval", but=WITHOUT_EFFECT)
    dequantizer = model.evaluating.dequantizer
    learned = digest_with_arrays(
        {"dequantizer": type(dequantizer).__name__}, jax.tree.leaves(dequantizer)
    )
    request = {
        "eval": options,
        "split": split,
        "examples": examples_digest(examples, conditions, num_witnesses=NUM_WITNESSES),
        "dequantizer": learned,
    }
    return shared_work.shards_of(model, key, folder, fields=Likelihoods._fields, **request)


def evaluate_missing(
    model: Model, left: Remaining, key: Key, examples: Examples, conditions: Any = None
) -> None:
    """Compute the likelihoods that no shard holds, each process its share on its own
    devices.

    Raises:
        FloatingPointError: some likelihoods are not finite; the finite shards stay.
        FileNotFoundError: another process has not done its share.
    """
    evaluate = make_evaluate(model)

    def compute(indices: range, size: int, bar: ProgressBar) -> Shard:
        found = evaluate_range(
            evaluate, model.params, key, examples, model.scaling, indices, size, conditions
        )
        check_finite("likelihoods", found.log_prob, SOLVE_FAILED)
        bar.update(bar.done + len(indices))
        return found._asdict()

    shared_work.finish(
        shared_work.Work("likelihood", "examples", model.evaluating.batch_size), left, compute
    )


def publish(model: Model, shards: Shards, total: int, path: Path) -> str:
    """Write all likelihoods to an ``.npz`` file, and return their `summary`."""
    found = Likelihoods.concatenated(shards.read(total))
    write_arrays(path, **found._asdict())
    levels = model.scaling.num_levels
    return summary(found, None if levels is None else model.evaluating.num_dequantizations)


def summary(found: Likelihoods, num_points: int | None) -> str:
    """Mean and standard error over the examples, their cost, and the bias of the mean
    by tolerance and noise, in words.

    ``num_points`` is the number of dequantizations of an example, or None for
    continuous data.
    """
    discrete = num_points is not None
    values, unit = (found.bits_per_dim, "bits/dim") if discrete else (found.log_prob, "nats")
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    text = f"{np.mean(values):.4f} ± {error:.4f} {unit} over {len(values)} examples, "
    text += f"{np.mean(found.nfe):.0f} evaluations"
    scale = np.abs(np.mean(values) / np.mean(found.log_prob))
    if np.isfinite(found.solver_error).all():
        text += f", moved by {scale * np.mean(found.solver_error):.2g} by the tolerance"
    # Noise of variance v in each of n points lifts the logarithm of their mean by v / 2,
    # and their weighted mean has at least the variance v / n.
    lift = scale * 0.5 * (num_points or 1) * np.mean(np.square(found.std_error))
    if discrete and num_points > 1 and lift != 0.0:
        amount = (
            f"up to {lift:.2g}"
            if np.isfinite(lift)
            else "an unknown amount (of a single probe no error is known)"
        )
        text += f", no bound, for the noise of the points makes it better by {amount}"
    return text
