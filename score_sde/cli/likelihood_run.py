"""What ``score-sde likelihood`` sets going: likelihoods in pieces, each process its share."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from score_sde.cli import shared_work
from score_sde.cli.flags import refusals
from score_sde.cli.own_code import trust_of
from score_sde.data import Examples
from score_sde.data.examples import is_array
from score_sde.evaluation.likelihoods import Likelihoods, evaluate_range, make_evaluate
from score_sde.evaluation.pieces import Piece, Pieces, fingerprint
from score_sde.experiments.loading import load_dequantizer
from score_sde.experiments.score_model import Model
from score_sde.runtime.progress import Progress
from score_sde.typing import Key

NOT_THE_NUMBERS = ("max_examples", "batch_size")
"""The keys of the section ``eval`` on which no likelihood depends."""

NUM_WITNESSES = 1024


def with_dequantizer(model: Model, folder: str | None, values: Any) -> Model:
    """The model with the trained dequantizer of a folder; where none is given, with
    that of its config.

    ``values``: those of the flags, which say what code the folder may name.

    Raises:
        Refusal: where there is none in the folder, or it is for other data.
    """
    if folder is None:
        return model
    with refusals():
        found = load_dequantizer(Path(folder).expanduser(), allow=trust_of(values).patterns)
        ours, theirs = (
            (part.shape, part.scaling.num_levels, part.scaling.bins) for part in (model, found)
        )
        if ours != theirs:
            raise ValueError(
                f"the dequantizer in {folder} is for (shape, levels, bins) {theirs}, the model for "
                f"{ours}"
            )
    return replace(model, evaluating=replace(model.evaluating, dequantizer=found.dequantizer))


def pieces_of(model: Model, key: Key, folder: Path, split: str, examples: Examples) -> Pieces:
    """The pieces of the request: the likelihood of example ``i`` depends on the model,
    how, the key and the example.

    ``examples`` are all of the split, so that a request for fewer of them or more has
    the same pieces. Of examples in files ``NUM_WITNESSES``, spread evenly, stand for
    all.
    """
    options = {
        name: value for name, value in model.config["eval"].items() if name not in NOT_THE_NUMBERS
    }
    data = hashlib.sha256(f"{examples.dtype.name}{list(examples.shape)}".encode())
    if not is_array(examples):
        rows = (
            np.linspace(0, len(examples) - 1, min(NUM_WITNESSES, len(examples)))
            .round()
            .astype(np.int64)
        )
        examples = examples[rows]
    data.update(np.ascontiguousarray(examples).data)
    dequantizer = model.evaluating.dequantizer
    learned = fingerprint({"dequantizer": type(dequantizer).__name__}, jax.tree.leaves(dequantizer))
    request = {
        "eval": options,
        "split": split,
        "examples": data.hexdigest(),
        "dequantizer": learned,
    }
    return shared_work.pieces_of(model, key, folder, fields=Likelihoods._fields, **request)


def evaluate_missing(model: Model, pieces: Pieces, key: Key, examples: Examples) -> None:
    """Compute the likelihoods that no piece holds, each process its share on its own devices.

    Raises:
        FloatingPointError: where some likelihoods are not finite; the finite pieces
            stay.
        FileNotFoundError: where another process has not done its share.
    """
    options = model.evaluating
    evaluate = make_evaluate(
        model.sde,
        model.score_fn_of,
        model.scaling,
        estimator=options.estimator,
        dequantizer=options.dequantizer,
        num_dequantizations=options.num_dequantizations,
        t_min=options.t_min,
    )

    def compute(indices: range, size: int, bar: Progress) -> Piece:
        found = evaluate_range(evaluate, model.params, key, examples, model.scaling, indices, size)
        if not np.isfinite(found.log_prob).all():
            raise FloatingPointError(
                "some likelihoods are not finite: the adaptive solve did not reach its end"
            )
        bar.update(bar.done + len(indices))
        return found._asdict()

    shared_work.finish(
        shared_work.Work("likelihood", "examples", len(examples), options.batch_size),
        pieces,
        compute,
    )
