"""Classification of noisy examples, for classifier guidance."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike, Shaped

from score_sde.objectives.base import check_noise
from score_sde.objectives.time_sampling import TimeSampling, UniformTime
from score_sde.precision import whole, wide, wide_time
from score_sde.sdes import SDE, perturb
from score_sde.typing import Key, LogProbFn, SampleLike, Scalar, ScalarLike


@dataclass(frozen=True, kw_only=True)
class NoisyClassification:
    """``E_t -log p(y | x_t)``: the cross-entropy of a time-conditional classifier.

    ``time_sampling`` is the distribution of ``t``; importance sampling weights the
    loss, so that it is the mean over uniform times. The minimiser is the posterior of
    the class given the noisy example, whose gradient guides a score to a class: ``grad
    log p_t(x | y) = grad log p_t(x) + grad log p(y | x_t = x)`` (Song et al. 2021, eq.
    14 and appendix I.1).
    """

    time_sampling: TimeSampling = UniformTime()  # noqa: RUF009 - a frozen value

    def __call__(
        self,
        key: Key,
        sde: SDE,
        log_prob_fn: LogProbFn,
        x0: SampleLike,
        label: Shaped[ArrayLike, ""],
    ) -> tuple[Scalar, Scalar]:
        """``(loss, correct)`` of one example, at one time and with one noise drawn from
        ``key``; ``correct`` is 1 where the most probable class is ``label``, else 0.

        The mean of ``correct`` is the accuracy at the times drawn, without weights.
        """
        time_key, noise_key = jax.random.split(key)
        t, weight = self.time_sampling(jax.random.uniform(time_key), sde)
        loss, correct = self.at_time(noise_key, sde, log_prob_fn, x0, label, t)
        return weight * loss, correct

    def check(self, sde: SDE) -> None:
        """Raise ``ValueError`` where the times are beyond the SDE, or the first time
        has no noise.
        """
        self.time_sampling.check(sde)
        check_noise(sde, self.time_sampling.first(sde))

    def at_time(
        self,
        key: Key,
        sde: SDE,
        log_prob_fn: LogProbFn,
        x0: SampleLike,
        label: Shaped[ArrayLike, ""],
        t: ScalarLike,
    ) -> tuple[Scalar, Scalar]:
        """``(loss, correct)`` at the time ``t``, without the weight of the time."""
        x0, label, t = wide(x0, "x0"), whole(label, "label"), wide_time(t)
        noise = jax.random.normal(key, x0.shape, x0.dtype)
        log_prob = wide(log_prob_fn(perturb(sde, x0, t, noise), t), "the log probabilities")
        return -log_prob[label], (jnp.argmax(log_prob) == label).astype(log_prob.dtype)
