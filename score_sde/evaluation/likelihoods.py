"""The likelihood of a whole data set, every example counted once."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from score_sde.data import Scaling
from score_sde.evaluation.generation import AXIS, over_devices, sample_keys
from score_sde.likelihood import Divergence, LogLikelihood, bits_per_dim, log_likelihood
from score_sde.sdes import SDE
from score_sde.typing import Key, Params, ScoreFn

Evaluate = Callable[[Params, Array, Array], LogLikelihood]
"""``(params, keys [b], raw examples [b, *shape]) ->`` their log-likelihoods in model units."""


class Likelihoods(NamedTuple):
    """One entry an example: nats in model units, bits a dimension of the discrete data (NaN for continuous data).

    ``std_error`` is that of ``log_prob`` over the probes.
    """

    log_prob: Float[np.ndarray, " n"]
    bits_per_dim: Float[np.ndarray, " n"]
    std_error: Float[np.ndarray, " n"]
    nfe: Int[np.ndarray, " n"]

    @classmethod
    def concatenated(cls, parts: Iterable[Mapping[str, np.ndarray]]) -> "Likelihoods":
        """The entries of all parts, one part after the other."""
        parts = list(parts)
        return cls(**{name: np.concatenate([part[name] for part in parts]) for name in cls._fields})


def make_evaluate(
    sde: SDE,
    score_fn_of: Callable[[Params], ScoreFn],
    scaling: Scaling,
    *,
    divergence: Divergence,
    rtol: float,
    atol: float,
    t_min: float,
) -> Evaluate:
    """The compiled function from raw examples to log-likelihoods, each dequantised and probed by its own key."""
    sde = replace(sde, t_min=t_min)  # pyright: ignore[reportArgumentType] - every SDE is a dataclass

    def evaluate(params: Params, keys: Array, examples: Array) -> LogLikelihood:
        score_fn = score_fn_of(params)

        def one(key: Key, example: Array) -> LogLikelihood:
            data_key, probe_key = jax.random.split(key)
            x = scaling.to_model(data_key, example)
            return log_likelihood(probe_key, sde, score_fn, x, divergence=divergence, rtol=rtol, atol=atol)

        return jax.vmap(one, axis_name=AXIS)(keys, examples)

    compiled = jax.jit(evaluate)
    return lambda params, keys, examples: compiled(params, over_devices(keys), over_devices(examples))


def evaluate_range(
    evaluate: Evaluate,
    params: Params,
    key: Key,
    examples: np.ndarray,
    scaling: Scaling,
    indices: range,
    batch_size: int,
) -> Likelihoods:
    """The likelihoods of at most ``batch_size`` examples; the batch is filled up, so that all are of one shape.

    Example ``i`` is dequantised and probed by ``fold_in(key, i)``, whatever its batch.
    """
    rows = np.arange(indices.start, indices.start + batch_size)
    batch = examples[np.where(rows < indices.stop, rows, 0)]
    keys = sample_keys(key, indices.start, indices.start + batch_size)
    found = jax.device_get(evaluate(params, keys, jax.numpy.asarray(batch)))
    num_dims, discrete = int(np.prod(examples.shape[1:])), scaling.num_levels is not None
    bits = bits_per_dim(found.log_prob, num_dims, bin_width=scaling.bin_width) if discrete else found.log_prob * np.nan
    row = Likelihoods(found.log_prob, np.asarray(bits), found.std_error, found.nfe)
    return Likelihoods(*(field[: len(indices)] for field in row))
