"""Moving averages of the parameters."""

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from score_sde.training.precision import widened
from score_sde.typing import Params, Scalar, ScalarLike

PLAIN_MEAN = 12**-0.5
"""The relative width of the mean of all steps, the widest of a `PowerEMA`."""


class Average(abc.ABC):
    """A moving average ``average <- average + rate_n (params - average)``, where
    ``params`` are those of update ``n``.

    Updates are counted from 1. What weight the parameters of each have in the average
    is its profile. Averages are of float32 at least: in the precision of half-precision
    parameters most updates would be rounded away.
    """

    @abc.abstractmethod
    def rate_at(self, step: ScalarLike) -> Scalar:
        """The weight of the newest parameters at update ``step``, in [0, 1]."""

    @final
    def decay_at(self, step: ScalarLike) -> Scalar:
        """The weight ``1 - rate_n`` of what there was before."""
        return 1 - self.rate_at(step)

    @final
    def update(self, average: Params, params: Params, step: ScalarLike) -> Params:
        """The average after update ``step``, which gave ``params``: of float32 at
        least, whatever their types.
        """
        rate = self.rate_at(step)
        return jax.tree.map(
            lambda old, new: old + (rate * (new - old)).astype(old.dtype), widened(average), params
        )

    @final
    def profile(self, num_steps: int) -> Float[np.ndarray, " num_steps"]:
        """The weights of the parameters of the updates 1 to ``num_steps`` in the
        average after the last of them.

        The weight of ``params_m`` after update ``n`` is ``rate_m prod_{k=m+1..n} (1 -
        rate_k)``. What they lack to one is the weight of the initial parameters.
        """
        rates = np.asarray(jax.vmap(self.rate_at)(jnp.arange(1, num_steps + 1)), np.float64)
        kept = np.cumprod(np.append(1.0, 1.0 - rates[:0:-1]))[::-1]
        return rates * kept


@dataclass(frozen=True, kw_only=True)
class EMA(Average):
    """Exponential moving average ``ema <- ema + (1 - decay_n) (params - ema)``.

    With ``warmup``, ``decay_n = min(decay, (1 + n) / (10 + n))`` after update ``n``, so
    that the average does not hang on to the random initial parameters in a short run.

    Attributes:
        decay: The decay in the long run, in [0, 1).
        warmup: Whether the decay grows from small values.

    Raises:
        ValueError: For a decay outside [0, 1).
    """

    decay: float = 0.9999
    warmup: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(
                f"the decay of the moving average must lie in [0, 1), not {self.decay}"
            )

    def rate_at(self, step: ScalarLike) -> Scalar:
        """``1 - decay_n``, which with ``warmup`` is ``max(1 - decay, 9 / (10 + n))``."""
        n = jnp.asarray(step, jnp.float32)
        # The decay must not be rounded to float32 before it is taken from one: of 1 -
        # 0.9999999 that leaves 1.19e-7.
        rate = jnp.full_like(n, 1 - self.decay)
        return jnp.maximum(rate, 9 / (10 + n)) if self.warmup else rate


@dataclass(frozen=True, kw_only=True)
class HalfLifeEMA(Average):
    """Exponential moving average whose decay is ``2^(-1 / h)``: after ``h`` updates a
    weight is half of what it was.

    With ``ramp``, ``h = min(half_life, ramp (n - 1))`` at update ``n``, as in the
    training of EDM (there 0.05), so that the average is always over a part of the run
    so far, and the initial parameters have no weight.

    Attributes:
        half_life: In updates; or in examples, where ``batch_size`` is given.
        batch_size: How many examples an update takes; None for a half-life in updates.
        ramp: The half-life at most, as a part of the updates so far; None for no limit.

    Raises:
        ValueError: For a half-life, a size or a ramp that is not positive.
    """

    half_life: float
    batch_size: int | None = None
    ramp: float | None = None

    def __post_init__(self) -> None:
        for name in ("half_life", "batch_size", "ramp"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"the {name} of a moving average must be positive, not {value}")

    def rate_at(self, step: ScalarLike) -> Scalar:
        """``1 - 2^(-1 / h)``."""
        n = jnp.asarray(step, jnp.float32)
        half_life = jnp.full_like(n, self.half_life / (self.batch_size or 1))
        if self.ramp is not None:
            half_life = jnp.minimum(half_life, self.ramp * (n - 1))
        return -jnp.expm1(-math.log(2) / half_life)


@dataclass(frozen=True, kw_only=True)
class PowerEMA(Average):
    """The power-function average of EDM2, whose width grows with the run: ``decay_n =
    (1 - 1/n)^(gamma + 1)``.

    The weight of ``params_m`` after update ``n`` is ``(m^(gamma+1) - (m-1)^(gamma+1)) /
    n^(gamma+1)``, that of the initial parameters zero. Karras et al. 2024, "Analyzing
    and Improving the Training Dynamics of Diffusion Models", section 3.1.

    Attributes:
        sigma_rel: The standard deviation of that profile, relative to the length of the
            run: 0.05 and 0.10 are usual, and 1 / sqrt(12) is the plain mean of all
            steps.

    Raises:
        ValueError: For a width outside [1e-6, 1 / sqrt(12)].
    """

    sigma_rel: float

    def __post_init__(self) -> None:
        gamma_of(self.sigma_rel)

    @property
    def gamma(self) -> float:
        """The exponent of the profile."""
        return gamma_of(self.sigma_rel)

    def rate_at(self, step: ScalarLike) -> Scalar:
        """``1 - (1 - 1/n)^(gamma + 1)``."""
        n = jnp.asarray(step, jnp.float32)
        # The decay is so near to one that its distance from it must not be computed by
        # a subtraction.
        return -jnp.expm1((self.gamma + 1) * jnp.log1p(-1 / n))


def gamma_of(sigma_rel: float) -> float:
    """The exponent of the power profile of a relative width: the largest root of a
    cubic, in closed form.

    ``sigma_rel^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3))``, the variance of the
    density ``(gamma + 1) t^gamma`` on [0, 1] (EDM2, appendix C).

    Raises:
        ValueError: For a width outside [1e-6, 1 / sqrt(12)], beyond which the average
            would be mostly of the first steps.
    """
    if not 1e-6 <= sigma_rel <= PLAIN_MEAN:
        raise ValueError(
            "the relative width sigma_rel of an average must be at least 1e-06 and at most "
            f"{PLAIN_MEAN:.4f}, "
            f"not {sigma_rel}"
        )
    # gamma + 7/3 = x solves x^3 - p x + q = 0, which has three real roots for these
    # widths.
    s = sigma_rel**-2
    p, q = s + 1 / 3, 4 / 3 * s + 2 / 27
    return 2 * math.sqrt(p / 3) * math.cos(math.acos(-1.5 * q / p * math.sqrt(3 / p)) / 3) - 7 / 3


def update_averages(
    rules: Sequence[Average], averages: tuple[Params, ...], params: Params, step: ScalarLike
) -> tuple[Params, ...]:
    """Several averages after update ``step``, which gave ``params``.

    Raises:
        ValueError: Where there are not as many averages as rules.
    """
    if len(rules) != len(averages):
        raise ValueError(
            f"the state has {len(averages)} averages and the step updates {len(rules)}: "
            f"give init_state num_averages={len(rules)}"
        )
    return tuple(rule.update(old, params, step) for rule, old in zip(rules, averages, strict=True))
