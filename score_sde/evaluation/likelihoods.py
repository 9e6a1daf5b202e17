"""The likelihood of a whole data set, every example counted once."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from score_sde.data import Examples, Scaling
from score_sde.evaluation.generation import AXIS, index_keys, over_devices
from score_sde.likelihood.dequantization import Dequantizer
from score_sde.likelihood.estimators import Estimate, Estimator, dequantized
from score_sde.likelihood.flow import bits_per_dim
from score_sde.sdes.base import SDE, starting_at
from score_sde.typing import Key, Params, ScoreFn

Evaluate = Callable[[Params, Array, Array], Estimate]
"""``(params, keys [b], raw examples [b, *shape]) ->`` what is known of their log-likelihoods."""


class Likelihoods(NamedTuple):
    """One entry an example.

    ``log_prob``: nats; of data with levels their log probability, of continuous data
    the log density in their units. ``bits_per_dim``: of data with levels; NaN for
    continuous data. ``std_error``, ``solver_error``: those of ``log_prob``, as in
    ``Estimate``.
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


def make_evaluate(
    sde: SDE,
    score_fn_of: Callable[[Params], ScoreFn],
    scaling: Scaling,
    *,
    estimator: Estimator,
    dequantizer: Dequantizer | None,
    num_dequantizations: int = 1,
    t_min: float,
) -> Evaluate:
    """The compiled function from raw examples, taken to live at ``t_min``, to their
    log-likelihoods.

    Data with levels are dequantised ``num_dequantizations`` times; without a
    dequantizer the estimator is asked for their probability. The density of continuous
    data is that in their own units, standardised or not.
    """
    sde = starting_at(sde, t_min)

    def evaluate(
        params: Params, dequantizer: Dequantizer | None, keys: Array, examples: Array
    ) -> Estimate:
        score_fn = score_fn_of(params)

        def one(key: Key, example: Array) -> Estimate:
            if scaling.num_levels is None:
                found = estimator.density(key, sde, score_fn, scaling.to_model(key, example))
                return found._replace(log_prob=found.log_prob + scaling.log_det(example.shape))
            if dequantizer is None:
                return estimator.probability(
                    key, sde, score_fn, example, scaling.bins, scaling.num_levels
                )
            options = {"estimator": estimator, "dequantizer": dequantizer, "bins": scaling.bins}
            return dequantized(
                key, sde, score_fn, example, num_samples=num_dequantizations, **options
            )

        return jax.vmap(one, axis_name=AXIS)(keys, examples)

    compiled = jax.jit(evaluate)
    return lambda params, keys, examples: compiled(
        params, dequantizer, over_devices(keys), over_devices(examples)
    )


def evaluate_range(
    evaluate: Evaluate,
    params: Params,
    key: Key,
    examples: Examples,
    scaling: Scaling,
    indices: range,
    batch_size: int,
) -> Likelihoods:
    """The likelihoods of at most ``batch_size`` examples; the batch is filled up, so
    that all are of one shape.

    Example ``i`` is evaluated with ``fold_in(key, i)``, whatever its batch.
    """
    rows = np.arange(indices.start, indices.start + batch_size)
    batch = examples[np.where(rows < indices.stop, rows, 0)]
    found = jax.device_get(evaluate(params, index_keys(key, rows), jnp.asarray(batch)))
    num_dims, discrete = int(np.prod(examples.shape[1:])), scaling.num_levels is not None
    bits = (
        bits_per_dim(found.log_prob, num_dims, bin_width=1.0)
        if discrete
        else found.log_prob * np.nan
    )
    row = Likelihoods(found.log_prob, np.asarray(bits), *found[1:])
    return Likelihoods(*(field[: len(indices)] for field in row))
