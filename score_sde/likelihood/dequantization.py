"""Densities as bounds on the probabilities of discrete data.

The probability of a level is the integral of a density over its bin, ``P(l) =
int_bin(l) p(x) dx``. With a density ``q(u | l)`` of the place in the bin, ``u`` from 0
to 1, ``log P(l) >= E log (width p(x) / q(u | l))`` (Theis et al. 2016, section 3.1; Ho
et al. 2019, section 3.1). The mean over several points gives a tighter bound (Burda et
al. 2016, eq. 8; Hoogeboom et al. 2020).
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
from jaxtyping import Array, Float

from score_sde import checks
from score_sde.chunking import check_chunk_size, map_in_chunks
from score_sde.precision import wide
from score_sde.typing import Key, Params, SampleLike, Scalar

LogProbFn: TypeAlias = Callable[[Key, Float[Array, "*shape"]], Scalar]
"""``(key, x) -> log p(x)`` of one sample, in nats."""


class Bins(NamedTuple):
    """The bins of the levels: level ``l`` covers ``low + width [l, l + 1]`` in model
    units; by default 8 bits on [-1, 1].

    >>> import jax.numpy as jnp, score_sde as ss
    >>> ss.Bins(low=0.0, width=0.25).at(jnp.array([0, 3]), 0.5)
    Array([0.125, 0.875], dtype=float32)
    """

    low: float = -1.0
    width: float = 2.0 / 256.0

    def at(self, levels: SampleLike, offset: SampleLike | float) -> Float[Array, "*shape"]:
        """The points in the bins of ``levels``, at ``offset`` from 0 to 1."""
        return self.low + (wide(levels, "levels") + wide(offset, "offset")) * self.width


class Offsets(NamedTuple):
    """The place of each number of an example in its bin, from 0 to 1, and ``log
    q(offset | levels)`` in nats over the example.
    """

    offset: Float[Array, "*shape"]
    log_prob: Scalar


class Dequantizer(abc.ABC):
    """A density on the bins of one example. A pytree with the learned parameters as leaves."""

    @abc.abstractmethod
    def sample(self, key: Key, levels: SampleLike) -> Offsets:
        """One offset for each number of one example."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class UniformDequantizer(Dequantizer):
    """Uniform on the bin: ``log q = 0``.

    >>> import jax, jax.numpy as jnp, score_sde as ss
    >>> sample, levels = ss.UniformDequantizer().sample, jnp.zeros((8, 8, 3), jnp.uint8)
    >>> jax.eval_shape(sample, jax.random.key(0), levels).offset.shape
    (8, 8, 3)
    """

    def sample(self, key: Key, levels: SampleLike) -> Offsets:
        """Uniform offsets."""
        return Offsets(jax.random.uniform(key, wide(levels, "levels").shape), jnp.zeros(()))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class TruncatedNormalDequantizer(Dequantizer):
    """A normal density about the middle of the bin, truncated at its edges, with the
    standard deviation ``std`` in bin widths.

    It tends to the uniform density for large ``std``. Models of discrete data tend to
    have a peak of density in the middle of each bin, which it fits better.

    >>> import score_sde as ss
    >>> ss.TruncatedNormalDequantizer(std=0.25)
    TruncatedNormalDequantizer(std=0.25)
    """

    std: float = field(default=0.5, metadata={"static": True})

    def __post_init__(self) -> None:
        checks.positive(std=self.std, because="since it is the standard deviation in bin widths")

    def sample(self, key: Key, levels: SampleLike) -> Offsets:
        """Offsets ``1/2 + s z``, and ``log q = sum log N(z) - log(Phi(1/2s) -
        Phi(-1/2s)) - log s``.
        """
        edge = 0.5 / self.std
        z = jax.random.truncated_normal(key, -edge, edge, wide(levels, "levels").shape)
        log_mass = log_interval_probability(jnp.asarray(-edge), jnp.asarray(edge))
        return Offsets(0.5 + self.std * z, jnp.sum(norm.logpdf(z) - log_mass - math.log(self.std)))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True, eq=False)
class VariationalDequantizer(Dequantizer):
    """A flow conditioned on the levels, which learns the density on their bins (Ho et
    al. 2019, section 3.1).

    ``offset = sigmoid(z)``, where ``z, log_det = flow(params, noise, levels)`` and the
    noise is logistic: the identity flow gives uniform offsets.

    >>> import jax, jax.numpy as jnp, score_sde as ss
    >>> identity = lambda params, noise, levels: (noise, jnp.zeros(()))
    >>> dequantizer = ss.VariationalDequantizer(flow=identity, params={})
    >>> jax.eval_shape(dequantizer.sample, jax.random.key(0), jnp.zeros(3)).offset.shape
    (3,)

    Attributes:
        flow: ``(params, noise, levels) -> (z, log |det dz/dnoise|)`` of one example.
        params: the parameters of the flow.
    """

    flow: Callable[[Params, Array, Array], tuple[Array, Scalar]] = field(metadata={"static": True})
    params: Params

    def sample(self, key: Key, levels: SampleLike) -> Offsets:
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
    levels: SampleLike,
    log_prob_fn: LogProbFn,
    dequantizer: Dequantizer,
    *,
    bins: Bins = Bins(),  # noqa: B008 - a value
    num_samples: int = 1,
    chunk_size: int | None = None,
) -> Scalar:
    """``log 1/K sum_k width^dim p(x_k) / q(u_k | levels)`` over ``K = num_samples``
    points of one example, in nats.

    Its expectation is a lower bound of ``log P(levels)`` that rises to it with ``K``,
    provided that ``log_prob_fn`` is exact or a lower bound itself. Unbiased noise of
    variance ``v`` in ``log_prob_fn`` raises the result by up to ``v / 2``. With
    ``log_likelihood`` use ``ExactTrace()``, or enough probes that the square of its
    ``std_error`` is far below the wanted accuracy.

    >>> import jax, jax.numpy as jnp, score_sde as ss
    >>> uniform = lambda key, x: jnp.log(0.5) * x.size  # the log density on [-1, 1]
    >>> levels, dequantizer = jnp.zeros(2, jnp.uint8), ss.UniformDequantizer()
    >>> args = levels, uniform, dequantizer
    >>> bound = jax.jit(lambda key: ss.importance_weighted_log_prob(key, *args))
    >>> round(float(bound(jax.random.key(0))), 3)  # 2 log(1/256)
    -11.09

    Args:
        key: draws the offsets, and is split for ``log_prob_fn``.
        levels: the integer levels of one example.
        log_prob_fn: ``(key, x) -> log p(x)`` of one sample, in nats.
        dequantizer: the density ``q`` on the bins.
        bins: where the bins of the levels are in model units.
        num_samples: the number ``K`` of points.
        chunk_size: points evaluated at a time; None for all at once.

    Raises:
        ValueError: where ``num_samples`` or ``chunk_size`` is below 1, or the width of
            the bins is not positive.
    """
    without_rest = lambda key, x: (log_prob_fn(key, x), None)  # noqa: E731
    weights, _ = log_weights(key, levels, without_rest, dequantizer, bins, num_samples, chunk_size)
    return log_mean_exp(weights)


def log_weights(
    key: Key,
    levels: SampleLike,
    log_prob_fn: Callable[[Key, Array], tuple[Scalar, Any]],
    dequantizer: Dequantizer,
    bins: Bins,
    num_samples: int,
    chunk_size: int | None,
) -> tuple[Float[Array, " samples"], Any]:
    """``log (width^dim p(x_k) / q(u_k | levels))`` of every point, and the second
    result of ``log_prob_fn`` there.
    """
    checks.at_least(1, num_samples=num_samples)
    check_width(**{"bins.width": bins.width})
    check_chunk_size(chunk_size)
    log_volume = wide(levels, "levels").size * math.log(bins.width)

    def log_weight(key: Key) -> tuple[Scalar, Any]:
        sample_key, density_key = jax.random.split(key)
        offset, log_q = dequantizer.sample(sample_key, levels)
        log_prob, rest = log_prob_fn(density_key, bins.at(levels, offset))
        return wide(log_prob, "the log probability") - log_q + log_volume, rest

    return map_in_chunks(log_weight, jax.random.split(key, num_samples), chunk_size)


def check_width(**widths: float) -> None:
    """Raise ``ValueError`` unless the width of a bin is positive."""
    checks.positive(**widths, because="since it is the width of one data level in model units")


def log_mean_exp(values: Float[Array, " n"]) -> Scalar:
    """``log 1/n sum exp``."""
    return jax.nn.logsumexp(values) - math.log(len(values))


FAR = 0.25
"""An edge of an interval beyond this share of the largest number is at infinity."""


def log_interval_probability(
    lower: Float[Array, "*shape"], upper: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """``log(Phi(upper) - Phi(lower))`` of a standard normal for ``lower < upper``; one
    of the two may be infinite, or finite beyond ``FAR`` of the largest number, which
    ``jax_debug_infs`` allows.

    Stable in both tails and for narrow intervals, with finite derivatives.
    """
    # On the right, where Phi is near 1 and the difference cancels, the mirrored interval.
    right = lower + upper > 0.0
    low, high = jnp.where(right, -upper, lower), jnp.where(right, -lower, upper)
    is_open = low <= -FAR * jnp.finfo(low.dtype).max
    low = jnp.where(is_open, high - 1.0, low)
    width, middle = high - low, 0.5 * (low + high)
    narrow = width * jnp.maximum(1.0, jnp.abs(middle)) < 0.05
    log_high = log_ndtr(high)
    log_ratio = log_ndtr(low) - log_high
    by_difference = log_high + jnp.log(-jnp.expm1(jnp.where(narrow, -1.0, log_ratio)))
    # To the second order in the width; the fourth-order term is below 1e-8 here.
    by_density = (
        norm.logpdf(middle) + jnp.log(width) + (jnp.square(middle) - 1.0) * jnp.square(width) / 24.0
    )
    return jnp.where(is_open, log_high, jnp.where(narrow, by_density, by_difference))
