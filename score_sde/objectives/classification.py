"""Classification of noisy examples, for guidance by a classifier."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike, Shaped

from score_sde.objectives.base import check_noise
from score_sde.objectives.time_sampling import TimeSampling, UniformTime
from score_sde.precision import whole, wide, wide_time
from score_sde.sdes import SDE, perturb
from score_sde.typing import Key, LogProbFn, Scalar, ScalarLike


@dataclass(frozen=True, kw_only=True)
class NoisyClassification:
    """``E_t -log p(y | x_t)``: the cross-entropy of a classifier that is told the time.

    The mean over time is that of ``time_sampling``: with importance sampling the loss
    has its weight, so that it is the mean over uniform times. Its minimiser is the
    posterior of the class given the noisy example, whose gradient guides a score to a
    class: ``grad log p_t(x | y) = grad log p_t(x) + grad log p(y | x_t = x)`` (Song et
    al. 2021, eq. 14 and appendix I.2).
    """

    time_sampling: TimeSampling = UniformTime()  # noqa: RUF009 - a frozen value

    def __call__(
        self,
        key: Key,
        sde: SDE,
        log_prob_fn: LogProbFn,
        x0: Shaped[ArrayLike, "*shape"],
        label: Shaped[ArrayLike, ""],
    ) -> tuple[Scalar, Scalar]:
        """The loss of one example at one time and with one noise drawn from ``key``;
        and 1 if its class is found there.

        The mean of the second is the accuracy at the times that are drawn, without
        weights.
        """
        time_key, noise_key = jax.random.split(key)
        t, weight = self.time_sampling(jax.random.uniform(time_key), sde)
        loss, found = self.at_time(noise_key, sde, log_prob_fn, x0, label, t)
        return weight * loss, found

    def check(self, sde: SDE) -> None:
        """Raise ``ValueError`` where the times are not those of the SDE, or there is a
        time without noise.
        """
        self.time_sampling.check(sde)
        check_noise(sde, self.time_sampling.first(sde))

    def at_time(
        self,
        key: Key,
        sde: SDE,
        log_prob_fn: LogProbFn,
        x0: Shaped[ArrayLike, "*shape"],
        label: Shaped[ArrayLike, ""],
        t: ScalarLike,
    ) -> tuple[Scalar, Scalar]:
        """The same at the time ``t``, without weight."""
        x0, label, t = wide(x0, "x0"), whole(label, "label"), wide_time(t)
        noise = jax.random.normal(key, x0.shape, x0.dtype)
        log_prob = wide(log_prob_fn(perturb(sde, x0, t, noise), t), "the log probabilities")
        return -log_prob[label], (jnp.argmax(log_prob) == label).astype(log_prob.dtype)
