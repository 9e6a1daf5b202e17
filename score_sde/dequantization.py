"""Densities as bounds on the probabilities of discrete data.

The probability of a level is the integral of a density over its bin, ``P(l) = int_bin(l) p(x) dx``. With a density
``q(x | l)`` on the bin, ``log P(l) >= E log (p(x) / q(x | l))`` (Theis et al. 2016, eq. 2.3; Ho et al. 2019), and an
average over several points is nearer (Burda et al. 2016, eq. 8; Hoogeboom et al. 2020).
"""

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Real

from score_sde.chunking import check_chunk_size, map_in_chunks
from score_sde.normal import log_interval_probability
from score_sde.typing import Key, Scalar

LogProbFn: TypeAlias = Callable[[Key, Float[Array, "*shape"]], Scalar]
"""``(key, x) -> log p(x)`` of one sample, in nats."""


class Dequantized(NamedTuple):
    """A point in the bins of an example, and ``log q(x | levels)`` in nats over all dimensions, in model units."""

    x: Float[Array, "*shape"]
    log_prob: Scalar


@dataclass(frozen=True, kw_only=True)
class Dequantizer(abc.ABC):
    """A density on the bin of each level ``l``, which is ``low + bin_width [l, l + 1]`` in model units.

    The defaults are those of 8 bits on [-1, 1].
    """

    bin_width: float = 2.0 / 256.0
    low: float = -1.0

    def __post_init__(self) -> None:
        if not self.bin_width > 0.0:
            raise ValueError(f"bin_width={self.bin_width} must be positive: the width of one data level in model units")

    @abc.abstractmethod
    def sample(self, key: Key, levels: Real[Array, "*shape"]) -> Dequantized:
        """A point for one example, every number drawn by itself in its bin."""

    def _at(self, levels: Real[Array, "*shape"], offset: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return self.low + (levels + offset) * self.bin_width


@dataclass(frozen=True, kw_only=True)
class UniformDequantizer(Dequantizer):
    """Uniform on the bin: ``log q = -dim log bin_width``."""

    def sample(self, key: Key, levels: Real[Array, "*shape"]) -> Dequantized:
        """One uniform point."""
        offset = jax.random.uniform(key, levels.shape)
        return Dequantized(self._at(levels, offset), jnp.full((), -levels.size * math.log(self.bin_width)))


@dataclass(frozen=True, kw_only=True)
class TruncatedNormalDequantizer(Dequantizer):
    """A normal about the middle of the bin, cut off at its borders; ``std`` is its deviation in bin widths.

    It is the uniform one for large ``std``. Where a density has a peak in the middle of every bin, as that of a model
    of discrete data tends to, it is nearer to the density than the uniform one.
    """

    std: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.std > 0.0:
            raise ValueError(f"std={self.std} must be positive: the deviation in bin widths")

    def sample(self, key: Key, levels: Real[Array, "*shape"]) -> Dequantized:
        """One point, and ``log q = sum log N(z) - log(Phi(1/2s) - Phi(-1/2s)) - log(s bin_width)``."""
        border = 0.5 / self.std
        z = jax.random.truncated_normal(key, -border, border, levels.shape)
        log_mass = log_interval_probability(jnp.asarray(-border), jnp.asarray(border))
        log_density = norm.logpdf(z) - log_mass - math.log(self.std * self.bin_width)
        return Dequantized(self._at(levels, 0.5 + self.std * z), jnp.sum(log_density))


def importance_weighted_log_prob(
    key: Key,
    levels: Real[Array, "*shape"],
    log_prob_fn: LogProbFn,
    dequantizer: Dequantizer,
    *,
    num_samples: int = 1,
    chunk_size: int | None = None,
) -> Scalar:
    """``log 1/K sum_k p(x_k) / q(x_k | levels)`` over ``K = num_samples`` points of one example, in nats.

    In expectation a lower bound of ``log P(levels)``, which rises with ``K`` towards it, as long as ``log_prob_fn`` is
    exact, or itself a lower bound. An unbiased but noisy ``log_prob_fn`` is neither: the exponential of noise of
    variance ``v`` lifts the result by up to ``v / 2``. With ``log_likelihood`` use ``ExactTrace()``, or as many probes
    as bring the square of its ``std_error`` far below the wanted accuracy.

    ``chunk_size`` points are evaluated at a time, all at once with None.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples={num_samples} must be at least 1")
    check_chunk_size(chunk_size)

    def log_weight(key: Key) -> Scalar:
        sample_key, density_key = jax.random.split(key)
        x, log_prob = dequantizer.sample(sample_key, levels)
        return log_prob_fn(density_key, x) - log_prob

    log_weights = map_in_chunks(log_weight, jax.random.split(key, num_samples), chunk_size)
    return jax.nn.logsumexp(log_weights) - math.log(num_samples)
