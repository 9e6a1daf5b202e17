"""The interface of the score-matching objectives, and the parts they share."""

import abc
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from score_sde import checks
from score_sde.objectives.time_sampling import TimeSampling, UniformTime
from score_sde.objectives.weighting import Weighting, variance
from score_sde.precision import wide, wide_score, wide_time
from score_sde.sdes import SDE, perturb
from score_sde.typing import Context, Key, Params, SampleLike, Scalar, ScalarLike, ScoreFn

Reduction: TypeAlias = Literal["mean", "half_sum"]


@dataclass(frozen=True, kw_only=True)
class ScoreMatching(abc.ABC):
    """``E_t lambda(t) |s(x_t, t) - grad log p_t(x_t)|^2`` up to a constant: a Fisher
    divergence at every noise level.

    The objectives estimate it without the density, each by its own identity, from one
    example. They differ by terms that do not depend on ``s``.

    Attributes:
        reduce: ``mean`` over the dimensions, or ``half_sum``, half of the sum over
            them, which with the likelihood weighting is in nats.
        stratified: whether the training step draws the times of a batch from as many
            strata, for the same expectation with less noise (Kingma et al. 2021,
            appendix I.1).
        condition_dropout: the probability with which training omits the condition of an
            example, for classifier-free guidance (Ho & Salimans 2022).
    """

    reduce: Reduction = "mean"
    stratified: bool = False
    condition_dropout: float = 0.0

    def __post_init__(self) -> None:
        checks.between(
            0.0, 1.0, condition_dropout=self.condition_dropout, because="0 is never and 1 is always"
        )
        checks.one_of(typing.get_args(Reduction), reduce=self.reduce)

    @property
    @abc.abstractmethod
    def times(self) -> TimeSampling:
        """The distribution of its times."""

    @abc.abstractmethod
    def at_time(
        self, key: Key, sde: SDE, score_fn: ScoreFn, x0: Float[Array, "*shape"], t: ScalarLike
    ) -> Scalar:
        """The loss of one example at the time ``t``, with the weight ``lambda(t)``, in
        float32 at least.
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
        """The loss of one example at the time ``t`` in a training step: `at_time` of
        the score ``score_fn_of(params)``.

        An objective that also needs the score with the averaged or the frozen
        parameters, or the number of the step, overrides this method. All scores from
        ``score_fn_of`` are conditioned as the example is, dropout included.
        """
        del context
        return self.at_time(key, sde, score_fn_of(params), x0, t)

    @final
    def __call__(self, key: Key, sde: SDE, score_fn: ScoreFn, x0: SampleLike) -> Scalar:
        """The loss of one example, at one time and with one noise drawn from ``key``,
        in the unit of ``reduce``.

        ``score_fn`` is ``(x, t) -> score`` of one sample of any shape. A batch is
        ``jax.vmap`` over the keys and the examples.
        """
        time_key, key = jax.random.split(key)
        t, weight = self.times(jax.random.uniform(time_key), sde)
        return weight * self.at_time(key, sde, score_fn, wide(x0, "x0"), t)

    def check(self, sde: SDE) -> None:
        """Raise ``ValueError`` where the times of the objective are beyond the SDE."""
        self.times.check(sde)

    @final
    def reduced(self, half_sum: Scalar, size: int) -> Scalar:
        """``half_sum``, half of a sum over ``size`` dimensions, reduced by ``reduce``."""
        return half_sum if self.reduce == "half_sum" else 2.0 / size * half_sum


@dataclass(frozen=True, kw_only=True)
class WeightedScoreMatching(ScoreMatching):
    """An objective with any weighting and any times.

    Attributes:
        weighting: ``lambda(t)``, the weight of the squared distance of scores.
        time_sampling: the distribution of ``t``.
    """

    weighting: Weighting = variance
    time_sampling: TimeSampling = UniformTime()  # noqa: RUF009 - a frozen value

    @property
    def times(self) -> TimeSampling:
        """``time_sampling``."""
        return self.time_sampling


class TargetFreeScoreMatching(WeightedScoreMatching):
    """``E_t lambda(t) E loss(s, x_t)``: the loss needs the score and its derivatives at
    ``x_t``, and no target.
    """

    @abc.abstractmethod
    def loss(self, key: Key, score_fn: ScoreFn, x: Float[Array, "*shape"], t: ScalarLike) -> Scalar:
        """``1/2 |s(x, t)|^2 + div s(x, t)``, or an unbiased estimate with probes drawn
        from ``key``.
        """

    @final
    def at_time(
        self, key: Key, sde: SDE, score_fn: ScoreFn, x0: SampleLike, t: ScalarLike
    ) -> Scalar:
        """``lambda(t)`` times the reduced loss at ``x_t``."""
        x0, t, score_fn = wide(x0, "x0"), wide_time(t), wide_score(score_fn)
        noise_key, probe_key = jax.random.split(key)
        x = perturb(sde, x0, t, jax.random.normal(noise_key, x0.shape, x0.dtype))
        loss = self.loss(probe_key, score_fn, x, t)
        return self.weighting(sde, t) * self.reduced(loss, x0.size)


def half_square(x: Float[Array, "*shape"]) -> Scalar:
    """``|x|^2 / 2``, summed over all dimensions."""
    return 0.5 * jnp.sum(jnp.square(x))


def check_noise(sde: SDE, t: float) -> None:
    """Raise ``ValueError`` where ``sigma(t) = 0``, at which the denoising target is
    infinite.
    """
    checks.require(
        float(jax.jit(lambda: sde.marginal(t).sigma)()) > 0.0,
        f"the objective needs noise at its first time, but sigma is 0 at t={t}",
    )
