"""Sliced score matching, which sees the score in random directions alone."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike, Shaped

from score_sde.divergence import Hutchinson, ProbeKind
from score_sde.objectives.base import WeightedScoreMatching, half_square
from score_sde.precision import wide, wide_score, wide_time
from score_sde.sdes import SDE, perturb
from score_sde.typing import Key, Scalar, ScalarLike, ScoreFn


@dataclass(frozen=True, kw_only=True)
class SlicedScoreMatching(WeightedScoreMatching):
    """``E_t lambda(t) E_v [v^T (ds/dx) v + 1/2 (v^T s)^2]`` at ``x_t`` (Song, Garg et
    al. 2019, eq. 8).

    The directions ``v`` have unit covariance: ``rademacher``, ``gaussian``, or uniform
    on the ``sphere`` of radius ``sqrt(dim)``; ``num_probes`` of them for each example.
    With ``variance_reduced`` it is SSM-VR, their eq. 9, with ``1/2 |s|^2``, the mean of
    the second term over all directions. One probe costs one directional derivative.
    """

    num_probes: int = 1
    kind: ProbeKind = "rademacher"
    variance_reduced: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._directions()

    def at_time(
        self, key: Key, sde: SDE, score_fn: ScoreFn, x0: Shaped[ArrayLike, "*shape"], t: ScalarLike
    ) -> Scalar:
        """The mean over the directions at ``x_t``, reduced; noise and directions are
        drawn from ``key``.
        """
        x0, t, score_fn = wide(x0, "x0"), wide_time(t), wide_score(score_fn)
        noise_key, probe_key = jax.random.split(key)
        x = perturb(sde, x0, t, jax.random.normal(noise_key, x0.shape, x0.dtype))
        directions = self._directions().probes(probe_key, x)
        score, jacobian = jax.linearize(lambda y: score_fn(y, t), x)
        curvature = self._directions().estimates(jacobian, directions)
        along = jax.vmap(lambda direction: jnp.vdot(direction, score))(directions)
        square = half_square(score) if self.variance_reduced else 0.5 * jnp.square(along)
        return self.weighting(sde, t) * self.reduced(jnp.mean(curvature + square), x0.size)

    def _directions(self) -> Hutchinson:
        return Hutchinson(num_probes=self.num_probes, kind=self.kind)
