"""Densities as bounds on the probabilities of discrete data.

The probability of a level is the integral of a density over its bin, ``P(l) =
int_bin(l) p(x) dx``. With a density ``q(u | l)`` of where in the bin, from 0 to 1,
``log P(l) >= E log (width p(x) / q(u | l))`` (Theis et al. 2016, section 3.1; Ho et al.
2019, section 3.1), and an average over several points is nearer (Burda et al. 2016, eq.
8; Hoogeboom et al. 2020).
"""

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.scipy.special import log_ndtr
from jax.scipy.stats import logistic, norm
from jaxtyping import Array, ArrayLike, Float, Shaped

from score_sde.chunking import check_chunk_size, map_in_chunks
from score_sde.precision import wide
from score_sde.typing import Key, Params, Scalar

LogProbFn: TypeAlias = Callable[[Key, Float[Array, "*shape"]], Scalar]
"""``(key, x) -> log p(x)`` of one sample, in nats."""


class Bins(NamedTuple):
    """The bin of level ``l`` is ``low + width [l, l + 1]`` in model units; by default
    those of 8 bits on [-1, 1].
    """

    low: float = -1.0
    width: float = 2.0 / 256.0

    def at(
        self, levels: Shaped[ArrayLike, "*shape"], offset: Shaped[ArrayLike, "*shape"] | float
    ) -> Float[Array, "*shape"]:
        """The points at ``offset``, from 0 to 1, in the bins of ``levels``."""
        return self.low + (wide(levels, "levels") + wide(offset, "offset")) * self.width


class Offsets(NamedTuple):
    """Where in its bin each number of an example is put, from 0 to 1; and ``log
    q(offset | levels)`` of all in nats.
    """

    offset: Float[Array, "*shape"]
    log_prob: Scalar


class Dequantizer(abc.ABC):
    """A density on the bins of one example. A pytree, whose leaves are what it has learned."""

    @abc.abstractmethod
    def sample(self, key: Key, levels: Shaped[ArrayLike, "*shape"]) -> Offsets:
        """One offset for every number of one example."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class UniformDequantizer(Dequantizer):
    """Uniform on the bin: ``log q = 0``."""

    def sample(self, key: Key, levels: Shaped[ArrayLike, "*shape"]) -> Offsets:
        """Uniform offsets."""
        return Offsets(jax.random.uniform(key, wide(levels, "levels").shape), jnp.zeros(()))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class TruncatedNormalDequantizer(Dequantizer):
    """A normal about the middle of the bin, cut off at its borders; ``std`` is its
    deviation in bin widths.

    It is the uniform one for large ``std``. Where a density has a peak in the middle of
    every bin, as that of a model of discrete data tends to, it is nearer to the density
    than the uniform one.
    """

    std: float = field(default=0.5, metadata={"static": True})

    def __post_init__(self) -> None:
        if not self.std > 0.0:
            raise ValueError(f"std={self.std} must be positive: the deviation in bin widths")

    def sample(self, key: Key, levels: Shaped[ArrayLike, "*shape"]) -> Offsets:
        """Offsets ``1/2 + s z``, and ``log q = sum log N(z) - log(Phi(1/2s) -
        Phi(-1/2s)) - log s``.
        """
        border = 0.5 / self.std
        z = jax.random.truncated_normal(key, -border, border, wide(levels, "levels").shape)
        log_mass = log_interval_probability(jnp.asarray(-border), jnp.asarray(border))
        return Offsets(0.5 + self.std * z, jnp.sum(norm.logpdf(z) - log_mass - math.log(self.std)))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True, eq=False)
class VariationalDequantizer(Dequantizer):
    """A flow that is told the levels and learns the density on their bins (Ho et al.
    2019, section 3.1).

    ``offset = sigmoid(z)``, where ``z, log_det = flow(params, noise, levels)`` and the
    noise is logistic: a flow that changes nothing gives uniform offsets.

    Attributes:
        flow: ``(params, noise, levels) -> (z, log |det dz/dnoise|)`` of one example.
        params: the parameters of the flow.
    """

    flow: Callable[[Params, Array, Array], tuple[Array, Scalar]] = field(metadata={"static": True})
    params: Params

    def sample(self, key: Key, levels: Shaped[ArrayLike, "*shape"]) -> Offsets:
        """Offsets, and ``log q = sum log p(noise) - log p(z) - log_det`` with the
        logistic density ``p``.
        """
        noise = jax.random.logistic(key, wide(levels, "levels").shape)
        z, log_det = (
            wide(part, "the flow") for part in self.flow(self.params, noise, jnp.asarray(levels))
        )
        # The logistic density is the derivative of the sigmoid.
        return Offsets(
            jax.nn.sigmoid(z), jnp.sum(logistic.logpdf(noise) - logistic.logpdf(z)) - log_det
        )


def importance_weighted_log_prob(
    key: Key,
    levels: Shaped[ArrayLike, "*shape"],
    log_prob_fn: LogProbFn,
    dequantizer: Dequantizer,
    *,
    bins: Bins = Bins(),  # noqa: B008 - a value
    num_samples: int = 1,
    chunk_size: int | None = None,
) -> Scalar:
    """``log 1/K sum_k width^dim p(x_k) / q(u_k | levels)`` over ``K = num_samples``
    points of one example, in nats.

    In expectation a lower bound of ``log P(levels)``, which rises with ``K`` towards
    it, as long as ``log_prob_fn`` is exact, or itself a lower bound. An unbiased but
    noisy ``log_prob_fn`` is neither: the exponential of noise of variance ``v`` lifts
    the result by up to ``v / 2``. With ``log_likelihood`` use ``ExactTrace()``, or as
    many probes as bring the square of its ``std_error`` far below the wanted accuracy.

    ``chunk_size`` points are evaluated at a time, all at once with None.
    """
    without_rest = lambda key, x: (log_prob_fn(key, x), None)  # noqa: E731
    weights, _ = log_weights(key, levels, without_rest, dequantizer, bins, num_samples, chunk_size)
    return log_mean_exp(weights)


def log_weights(
    key: Key,
    levels: Shaped[ArrayLike, "*shape"],
    log_prob_fn: Callable[[Key, Array], tuple[Scalar, Any]],
    dequantizer: Dequantizer,
    bins: Bins,
    num_samples: int,
    chunk_size: int | None,
) -> tuple[Float[Array, " samples"], Any]:
    """``log (width^dim p(x_k) / q(u_k | levels))`` of every point, and the rest of what
    ``log_prob_fn`` gives of it.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples={num_samples} must be at least 1")
    if not bins.width > 0.0:
        raise ValueError(
            f"bins.width={bins.width} must be positive: the width of one data level in model units"
        )
    check_chunk_size(chunk_size)
    log_volume = wide(levels, "levels").size * math.log(bins.width)

    def log_weight(key: Key) -> tuple[Scalar, Any]:
        sample_key, density_key = jax.random.split(key)
        offset, log_q = dequantizer.sample(sample_key, levels)
        log_prob, rest = log_prob_fn(density_key, bins.at(levels, offset))
        return wide(log_prob, "the log probability") - log_q + log_volume, rest

    return map_in_chunks(log_weight, jax.random.split(key, num_samples), chunk_size)


def log_mean_exp(values: Float[Array, " n"]) -> Scalar:
    """``log 1/n sum exp``."""
    return jax.nn.logsumexp(values) - math.log(len(values))


def log_interval_probability(
    lower: Float[Array, "*shape"], upper: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """``log(Phi(upper) - Phi(lower))`` of a standard normal for ``lower < upper``, of
    which one may be infinite.

    Stable in both tails and for narrow intervals, with finite derivatives.
    """
    # Phi is near 1 on the right, where nothing would be left of the difference.
    right = lower + upper > 0.0
    low, high = jnp.where(right, -upper, lower), jnp.where(right, -lower, upper)
    is_open = jnp.isneginf(low)
    low = jnp.where(is_open, high - 1.0, low)
    width, middle = high - low, 0.5 * (low + high)
    narrow = width * jnp.maximum(1.0, jnp.abs(middle)) < 0.05
    log_high = log_ndtr(high)
    log_ratio = log_ndtr(low) - log_high
    by_difference = log_high + jnp.log(-jnp.expm1(jnp.where(narrow, -1.0, log_ratio)))
    # To the second order in the width: the fourth is below 1e-8 here.
    by_density = (
        norm.logpdf(middle) + jnp.log(width) + (jnp.square(middle) - 1.0) * jnp.square(width) / 24.0
    )
    return jnp.where(is_open, log_high, jnp.where(narrow, by_density, by_difference))
