"""What ``score-sde encode`` and ``score-sde interpolate`` set going: latents of
examples, and examples of latents.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from score_sde.cli.flags import refusals
from score_sde.evaluation.encoding import Encoded, in_batches, make_decode, make_encode
from score_sde.evaluation.generation import index_keys
from score_sde.evaluation.report import make_folder
from score_sde.experiments.score_model import Model
from score_sde.runtime.progress import Progress
from score_sde.sampling import ProbabilityFlow
from score_sde.typing import Key


def encoded(
    model: Model, key: Key, examples: Shaped[np.ndarray, "n *shape"], indices: Int[np.ndarray, " n"]
) -> Encoded:
    """The examples, of the given indices in their split, and their latents.

    They are taken to live at ``eval.t_min``, and the ODE is solved to ``eval.rtol`` and
    ``eval.atol``, as in the likelihood.

    Raises:
        FloatingPointError: where a solve has not reached its end.
    """
    parts = model.sde, model.score_fn_of, model.scaling
    encode = make_encode(*parts, flow=_flow(model), t_min=model.evaluating.t_min)
    found = _with_bar("encode", encode, model, [index_keys(key, indices), examples])
    return Encoded(*(np.concatenate(field) for field in zip(*found, strict=True)))


def decoded(model: Model, latents: Float[np.ndarray, "n *shape"]) -> Float[np.ndarray, "n *shape"]:
    """The examples of latents in model units, at ``eval.t_min``.

    Raises:
        FloatingPointError: where a solve has not reached its end.
    """
    decode = make_decode(
        model.sde, model.score_fn_of, flow=_flow(model), t_min=model.evaluating.t_min
    )
    return np.concatenate(_with_bar("decode", decode, model, [latents]))


def output_folder(output: str | None, default: Path) -> Path:
    """The folder that the results go to, made and checked before any work."""
    folder = Path(output or default).expanduser()
    with refusals():
        make_folder(folder)
    return folder


def _flow(model: Model) -> ProbabilityFlow:
    return ProbabilityFlow(rtol=model.evaluating.rtol, atol=model.evaluating.atol)


def _with_bar(
    name: str, function: Callable[..., Any], model: Model, arrays: Sequence[Array | np.ndarray]
) -> list[Any]:
    """What a function makes of all rows, a batch at a time."""
    found = []
    total, size = len(arrays[0]), model.evaluating.batch_size
    with Progress(name, total, unit="examples") as bar:
        for batch in in_batches(function, model.params, arrays, size):
            leaves = jax.tree.leaves(batch)
            if not all(np.isfinite(leaf).all() for leaf in leaves):
                raise FloatingPointError(
                    "some results are not finite: the adaptive solve did not reach its end"
                )
            found.append(batch)
            bar.update(bar.done + len(leaves[0]))
    return found
