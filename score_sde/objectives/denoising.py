"""Continuous denoising score matching."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from score_sde.objectives.base import Reduction, WeightedScoreMatching, check_noise, half_square
from score_sde.objectives.time_sampling import DiscreteTime
from score_sde.objectives.weighting import variance
from score_sde.precision import wide, wide_score, wide_time
from score_sde.sdes import SDE, perturb
from score_sde.typing import Key, SampleLike, Scalar, ScalarLike, ScoreFn


@dataclass(frozen=True, kw_only=True)
class DenoisingScoreMatching(WeightedScoreMatching):
    """``E_t lambda(t) |s(x_t, t) - grad log p(x_t | x_0)|^2`` (Vincent 2011; Song et
    al. 2021, eq. 7).

    The target is ``-eps / sigma`` for ``x_t = alpha x_0 + sigma eps``. With
    ``FixedTime`` it is the objective of Vincent at one noise level; with
    ``LogNormalNoise`` and ``EDMWeighting`` the one of Karras et al. 2022; with the
    weighting ``flow_matching`` it is conditional flow matching (Lipman et al. 2023).

    >>> import score_sde as ss
    >>> loss = ss.DenoisingScoreMatching(reduce="half_sum")
    >>> loss.weighting(ss.RectifiedFlowSDE(), 0.5)  # sigma^2
    Array(0.25, dtype=float32...)
    """

    def at_time(
        self, key: Key, sde: SDE, score_fn: ScoreFn, x0: SampleLike, t: ScalarLike
    ) -> Scalar:
        """``lambda / sigma^2 |sigma s(x_t, t) + eps|^2`` with ``eps`` drawn from
        ``key``, reduced.
        """
        x0, t, score_fn = wide(x0, "x0"), wide_time(t), wide_score(score_fn)
        noise = jax.random.normal(key, x0.shape, x0.dtype)
        sigma = sde.marginal(t).sigma
        # sigma (score - target) is of order one; the difference itself overflows half
        # precision at small sigma.
        residual = sigma * score_fn(perturb(sde, x0, t, noise), t) + noise
        return (
            self.weighting(sde, t)
            / jnp.square(sigma)
            * self.reduced(half_square(residual), x0.size)
        )

    def check(self, sde: SDE) -> None:
        """Raise ``ValueError`` also where the first time has no noise."""
        super().check(sde)
        check_noise(sde, self.times.first(sde))


def ncsn(
    *,
    num_scales: int = 10,
    reduce: Reduction = "half_sum",
    stratified: bool = False,
) -> DenoisingScoreMatching:
    """The objective of NCSN: ``1/2 E_i sigma_i^2 |s(x_i, sigma_i) + eps / sigma_i|^2``
    (Song & Ermon 2019, eq. 6).

    With a VE SDE the ``num_scales`` noise levels are a geometric sequence from
    ``sigma_min`` to ``sigma_max``.
    """
    levels = DiscreteTime(num_scales=num_scales)
    return DenoisingScoreMatching(
        weighting=variance, reduce=reduce, stratified=stratified, time_sampling=levels
    )
