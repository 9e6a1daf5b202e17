"""What all score-matching objectives have in common."""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Shaped

from score_sde.objectives.time_sampling import TimeSampling, UniformTime
from score_sde.objectives.weighting import Weighting, variance
from score_sde.precision import wide
from score_sde.sdes import SDE
from score_sde.typing import Context, Key, Params, Scalar, ScalarLike, ScoreFn


@dataclass(frozen=True, kw_only=True)
class ScoreMatching(abc.ABC):
    """``E_t lambda(t) |s(x_t, t) - grad log p_t(x_t)|^2`` up to a constant: a Fisher
    divergence at every noise level.

    The members find it without the density, each by an identity of its own. All are
    functions of one example, and agree with one another up to what does not depend on
    ``s``.

    ``reduce`` is ``mean`` over the dimensions, or ``half_sum``: half of their sum,
    which with the likelihood weighting is in nats. With ``stratified`` the times of a
    batch are spread evenly instead of drawn one by one, by the training step, which
    knows the batch: the same expectation with less noise (Kingma et al. 2021, appendix
    I.1). With the probability ``condition_dropout`` an example is trained on without its
    condition, for guidance without a classifier (Ho & Salimans 2022).
    """

    reduce: Literal["mean", "half_sum"] = "mean"
    stratified: bool = False
    condition_dropout: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.condition_dropout <= 1.0:
            raise ValueError(
                f"condition_dropout={self.condition_dropout} must lie from 0 (never) to 1 (always)"
            )
        if self.reduce not in ("mean", "half_sum"):
            raise ValueError(f"unknown reduce {self.reduce!r}: choose mean or half_sum")

    @property
    @abc.abstractmethod
    def times(self) -> TimeSampling:
        """How its times are drawn."""

    @abc.abstractmethod
    def at_time(
        self, key: Key, sde: SDE, score_fn: ScoreFn, x0: Float[Array, "*shape"], t: ScalarLike
    ) -> Scalar:
        """The loss of one example at the time ``t``, ``lambda(t)`` included; in float32
        at least.
        """

    def at_step(
        self,
        key: Key,
        sde: SDE,
        score_fn_of: Callable[[Params], ScoreFn],
        params: Params,
        x0: Float[Array, "*shape"],
        t: ScalarLike,
        context: Context,
    ) -> Scalar:
        """The loss of one example at the time ``t`` in training: `at_time` of the score
        ``score_fn_of(params)``.

        An objective that also needs the score of the averaged parameters, of frozen
        ones, or the number of the step, has this of its own. All scores have the
        condition and the dropout of the example.
        """
        del context
        return self.at_time(key, sde, score_fn_of(params), x0, t)

    @final
    def __call__(
        self, key: Key, sde: SDE, score_fn: ScoreFn, x0: Shaped[ArrayLike, "*shape"]
    ) -> Scalar:
        """The loss of one example, at one time and with one noise drawn from ``key``."""
        time_key, key = jax.random.split(key)
        t, weight = self.times(jax.random.uniform(time_key), sde)
        return weight * self.at_time(key, sde, score_fn, wide(x0, "x0"), t)

    def check(self, sde: SDE) -> None:
        """Raise ``ValueError`` where the times of the objective are not those of the SDE."""
        self.times.check(sde)

    @final
    def reduced(self, half_sum: Scalar, size: int) -> Scalar:
        """A loss that is half of a sum over ``size`` dimensions, as ``reduce`` has it."""
        return half_sum if self.reduce == "half_sum" else 2.0 / size * half_sum


@dataclass(frozen=True, kw_only=True)
class WeightedScoreMatching(ScoreMatching):
    """One with any ``weighting`` ``lambda(t)`` of the squared distance of scores, and any times."""

    weighting: Weighting = variance
    time_sampling: TimeSampling = UniformTime()  # noqa: RUF009 - a frozen value

    @property
    def times(self) -> TimeSampling:
        """``time_sampling``."""
        return self.time_sampling


def half_square(x: Float[Array, "*shape"]) -> Scalar:
    """``|x|^2 / 2``, summed over all dimensions."""
    return 0.5 * jnp.sum(jnp.square(x))


def check_noise(sde: SDE, t: float) -> None:
    """Raise ``ValueError`` where there is no noise at ``t``: a denoising target would
    be infinite.
    """
    if not float(sde.marginal(t).sigma) > 0.0:
        raise ValueError(f"the objective needs noise at its first time, but sigma is 0 at t={t}")
