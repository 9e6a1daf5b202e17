"""Moving averages of the parameters."""

import abc
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from score_sde import checks
from score_sde.training.precision import widened
from score_sde.typing import Params, Scalar, ScalarLike

PLAIN_MEAN = 12**-0.5
"""The relative width of the mean over all updates, the largest of a `PowerEMA`."""


class Average(abc.ABC):
    """A moving average ``average <- average + rate_n (params_n - average)`` of the
    parameters after each update ``n = 1, 2, …``.

    The profile of an average is the weight of each ``params_n`` in it. Averages are in
    float32 at least: in half precision most increments would be rounded away.
    """

    @abc.abstractmethod
    def rate_at(self, step: ScalarLike) -> Scalar:
        """The weight of the newest parameters at update ``step``, in [0, 1]."""

    @final
    def decay_at(self, step: ScalarLike) -> Scalar:
        """The weight ``1 - rate_n`` of the average before the update."""
        return 1 - self.rate_at(step)

    @final
    def update(self, average: Params, params: Params, step: ScalarLike) -> Params:
        """The average after update ``step``, which gave ``params``; in float32 at least."""
        rate = self.rate_at(step)
        return jax.tree.map(
            lambda old, new: old + (rate * (new - old)).astype(old.dtype), widened(average), params
        )

    @final
    def profile(self, num_steps: int) -> Float[np.ndarray, " num_steps"]:
        """The weights of ``params_1`` to ``params_n`` in the average after ``n`` updates.

        The weight of ``params_m`` is ``rate_m prod_{k=m+1..n} (1 - rate_k)``. One minus
        their sum is the weight of the initial parameters.

        >>> import score_sde.training as st
        >>> st.EMA(decay=0.5, warmup=False).profile(3)
        array([0.125, 0.25 , 0.5  ])
        """
        rates = np.asarray(jax.vmap(self.rate_at)(jnp.arange(1, num_steps + 1)), np.float64)
        kept = np.cumprod(np.append(1.0, 1.0 - rates[:0:-1]))[::-1]
        return rates * kept


@dataclass(frozen=True)
class EMA(Average):
    """Exponential moving average ``ema <- ema + (1 - decay_n) (params_n - ema)``.

    With ``warmup``, ``decay_n = min(decay, (1 + n) / (10 + n))``, so that in a short run
    the random initial parameters have little weight.

    >>> import score_sde.training as st
    >>> float(st.EMA(decay=0.9999).decay_at(8))
    0.5

    Attributes:
        decay: The decay per update in the long run, in [0, 1).
        warmup: Whether the decay grows to that value from small ones.

    Raises:
        ValueError: For a decay outside [0, 1).
    """

    decay: float = 0.9999
    _: KW_ONLY
    warmup: bool = True

    def __post_init__(self) -> None:
        checks.require(
            0 <= self.decay < 1, f"decay={self.decay} must be at least 0 and less than 1"
        )

    def rate_at(self, step: ScalarLike) -> Scalar:
        """``1 - decay_n``, which with ``warmup`` is ``max(1 - decay, 9 / (10 + n))``."""
        n = jnp.asarray(step, jnp.float32)
        # Rounded to float32 first, a decay of 0.9999999 would give a rate of 1.19e-7.
        rate = jnp.full_like(n, 1 - self.decay)
        return jnp.maximum(rate, 9 / (10 + n)) if self.warmup else rate


@dataclass(frozen=True)
class HalfLifeEMA(Average):
    """Exponential moving average with the decay ``2^(-1 / h)``: a weight is halved every
    ``h`` updates.

    With ``ramp``, ``h = min(half_life, ramp (n - 1))`` at update ``n``, so that the average
    is over a fraction of the run so far, and the initial parameters have no weight (Karras
    et al. 2022, where the ramp is 0.05).

    >>> import score_sde.training as st
    >>> st.HalfLifeEMA(half_life=500_000.0, batch_size=512).decay_at(1).round(4)
    Array(0.9993, dtype=float32)

    Attributes:
        half_life: In updates; or in examples, where ``batch_size`` is given.
        batch_size: Examples per update; None for a half-life in updates.
        ramp: The largest half-life as a fraction of the updates so far; None for no
            limit.

    Raises:
        ValueError: For a half-life, batch size or ramp that is not positive.
    """

    half_life: float
    _: KW_ONLY
    batch_size: int | None = None
    ramp: float | None = None

    def __post_init__(self) -> None:
        values = dataclasses.asdict(self)
        checks.positive(**{name: value for name, value in values.items() if value is not None})

    def rate_at(self, step: ScalarLike) -> Scalar:
        """``1 - 2^(-1 / h)``."""
        n = jnp.asarray(step, jnp.float32)
        half_life = jnp.full_like(n, self.half_life / (self.batch_size or 1))
        if self.ramp is not None:
            half_life = jnp.minimum(half_life, self.ramp * (n - 1))
        return -jnp.expm1(-math.log(2) / half_life)


@dataclass(frozen=True)
class PowerEMA(Average):
    """Power-function average, whose width grows with the run: ``decay_n =
    (1 - 1/n)^(gamma + 1)`` (Karras et al. 2024, section 3.1).

    After update ``n`` the weight of ``params_m`` is ``(m^(gamma+1) - (m-1)^(gamma+1)) /
    n^(gamma+1)``. The initial parameters have no weight.

    >>> import score_sde.training as st
    >>> round(st.PowerEMA(sigma_rel=0.1).gamma, 2)
    6.94

    Attributes:
        sigma_rel: The standard deviation of the profile relative to the length of the
            run: 0.05 and 0.10 are usual, and 1 / sqrt(12) is the mean over all updates.

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
        # A subtraction from one would lose most digits: the decay is very close to one.
        return -jnp.expm1((self.gamma + 1) * jnp.log1p(-1 / n))


def gamma_of(sigma_rel: float) -> float:
    """The exponent ``gamma`` of the power profile with a relative width ``sigma_rel``.

    It solves ``sigma_rel^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3))``, the variance of
    the density ``(gamma + 1) t^gamma`` on [0, 1] (Karras et al. 2024, appendix C).

    Raises:
        ValueError: For a width outside [1e-6, 1 / sqrt(12)]. Beyond it the first updates
            would have the largest weights.
    """
    widest = "the relative width of the mean over all updates"
    checks.between(1e-6, PLAIN_MEAN, sigma_rel=sigma_rel, because=widest)
    # x = gamma + 7/3 is the largest of three real roots of x^3 - p x + q = 0.
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
    checks.require(
        len(rules) == len(averages),
        f"the state has {len(averages)} averages and the step updates {len(rules)}: "
        f"give init_state num_averages={len(rules)}",
    )
    return tuple(rule.update(old, params, step) for rule, old in zip(rules, averages, strict=True))
