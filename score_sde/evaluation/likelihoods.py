"""The likelihood of a whole data set, every example counted once: in batches, in
pieces that processes share, and in one file.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from score_sde.data import Examples, Scaling
from score_sde.data.examples import is_array
from score_sde.evaluation import shared_work
from score_sde.evaluation.generation import AXIS, index_keys, over_devices
from score_sde.evaluation.pieces import Piece, Pieces
from score_sde.evaluation.shared_work import Remaining
from score_sde.experiments.dequantizer import LearnedDequantizer
from score_sde.experiments.loading import load
from score_sde.experiments.score_model import Model
from score_sde.likelihood.dequantization import Dequantizer
from score_sde.likelihood.estimators import LogProbEstimate
from score_sde.likelihood.flow import bits_per_dim
from score_sde.runtime.atomic_files import write_arrays
from score_sde.runtime.fingerprints import digest_with_arrays, sha256, type_and_shape
from score_sde.runtime.progress import ProgressBar
from score_sde.runtime.trust import Allow
from score_sde.typing import Key, Params

NOT_THE_NUMBERS = ("max_examples", "batch_size")
"""The keys of the section ``eval`` on which no likelihood depends."""

NUM_WITNESSES = 1024

Evaluate = Callable[[Params, Array, Array, Any], LogProbEstimate]
"""``(params, keys [b], raw examples [b, *shape], conditions) ->`` estimates of their
log-likelihoods; ``conditions`` are a pytree of arrays ``[b, ...]``, or None.
"""


class Likelihoods(NamedTuple):
    """One entry an example.

    ``log_prob``: nats; of data with levels their log probability, of continuous data
    the log density in their units. ``bits_per_dim``: of data with levels; NaN for
    continuous data. ``std_error``, ``solver_error``: those of ``log_prob``, as in
    ``LogProbEstimate``.
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
    """The compiled function from raw examples and their conditions to their
    log-likelihoods, each as `Model.log_likelihood` computes it.
    """

    def evaluate(
        params: Params,
        dequantizer: Dequantizer | None,
        keys: Array,
        examples: Array,
        conditions: Any,
    ) -> LogProbEstimate:
        # An argument, for a learned dequantizer has parameters.
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
    """The likelihoods of at most ``batch_size`` examples; the batch is filled up, so
    that all are of one shape.

    Example ``i`` is evaluated with ``fold_in(key, i)``, whatever its batch, and with the
    ``i``-th of the ``conditions``.
    """
    rows = np.arange(indices.start, indices.start + batch_size)
    there = np.where(rows < indices.stop, rows, 0)
    batch = jnp.asarray(examples[there]), jax.tree.map(lambda each: each[there], conditions)
    found = jax.device_get(evaluate(params, index_keys(key, rows), *batch))
    num_dims, discrete = int(np.prod(examples.shape[1:])), scaling.num_levels is not None
    bits = (
        bits_per_dim(found.log_prob, num_dims, bin_width=1.0)
        if discrete
        else found.log_prob * np.nan
    )
    row = Likelihoods(found.log_prob, np.asarray(bits), *found[1:])
    return Likelihoods(*(field[: len(indices)] for field in row))


def with_dequantizer(model: Model, folder: str | Path, *, allow: Allow = ()) -> Model:
    """The model with the trained dequantizer of a folder in place of its config's.

    ``allow``: the code that the config in the folder may name, as in `load`.

    Raises:
        FileNotFoundError: where there is none in the folder.
        ValueError: where it is damaged, names code that is not allowed, or is for other
            data.
    """
    found = load(Path(folder).expanduser(), LearnedDequantizer, allow=allow)
    ours, theirs = (
        (part.shape, part.scaling.num_levels, part.scaling.bins) for part in (model, found)
    )
    if ours != theirs:
        raise ValueError(
            f"the dequantizer in {folder} is for (shape, levels, bins) {theirs}, the model for "
            f"{ours}"
        )
    return replace(model, evaluating=replace(model.evaluating, dequantizer=found.dequantizer))


def pieces_of(
    model: Model, key: Key, folder: Path, split: str, examples: Examples, conditions: Any = None
) -> Pieces:
    """The pieces of the request: the likelihood of example ``i`` depends on the model,
    how, the key and the example.

    ``examples`` are all of the split, so that a request for fewer of them or more has
    the same pieces. Of examples in files ``NUM_WITNESSES``, spread evenly, stand for
    all.
    """
    options = {
        name: value
        for name, value in model.saved_config["eval"].items()
        if name not in NOT_THE_NUMBERS
    }
    head = type_and_shape(examples).encode()
    if not is_array(examples):
        rows = (
            np.linspace(0, len(examples) - 1, min(NUM_WITNESSES, len(examples)))
            .round()
            .astype(np.int64)
        )
        examples = examples[rows]
    arrays = (
        np.ascontiguousarray(values).data for values in jax.tree.leaves([examples, conditions])
    )
    dequantizer = model.evaluating.dequantizer
    learned = digest_with_arrays(
        {"dequantizer": type(dequantizer).__name__}, jax.tree.leaves(dequantizer)
    )
    request = {
        "eval": options,
        "split": split,
        "examples": sha256([head, *arrays]),
        "dequantizer": learned,
    }
    return shared_work.pieces_of(model, key, folder, fields=Likelihoods._fields, **request)


def evaluate_missing(
    model: Model, left: Remaining, key: Key, examples: Examples, conditions: Any = None
) -> None:
    """Compute the likelihoods that no piece holds, each process its share on its own devices.

    Raises:
        FloatingPointError: where some likelihoods are not finite; the finite pieces
            stay.
        FileNotFoundError: where another process has not done its share.
    """
    evaluate = make_evaluate(model)

    def compute(indices: range, size: int, bar: ProgressBar) -> Piece:
        found = evaluate_range(
            evaluate, model.params, key, examples, model.scaling, indices, size, conditions
        )
        if not np.isfinite(found.log_prob).all():
            raise FloatingPointError(
                "some likelihoods are not finite: the adaptive solve did not reach its end"
            )
        bar.update(bar.done + len(indices))
        return found._asdict()

    shared_work.finish(
        shared_work.Work("likelihood", "examples", model.evaluating.batch_size), left, compute
    )


def publish(model: Model, pieces: Pieces, total: int, path: Path) -> str:
    """Write all likelihoods to an ``.npz`` file: what is known of their mean, in words."""
    found = Likelihoods.concatenated(pieces.read(total))
    write_arrays(path, **found._asdict())
    levels = model.scaling.num_levels
    return summary(found, None if levels is None else model.evaluating.num_dequantizations)


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
