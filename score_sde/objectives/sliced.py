"""Sliced score matching, which projects the score on random directions."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from score_sde.divergence import Hutchinson, ProbeKind, linearized
from score_sde.objectives.base import TargetFreeScoreMatching, half_square
from score_sde.typing import Key, Scalar, ScalarLike, ScoreFn


@dataclass(frozen=True, kw_only=True)
class SlicedScoreMatching(TargetFreeScoreMatching):
    """``E_t lambda(t) E_v [v^T (ds/dx) v + 1/2 (v^T s)^2]`` at ``x_t`` (Song, Garg et
    al. 2019, eq. 8).

    The ``num_probes`` directions ``v`` of each example have unit covariance; ``kind``
    is ``rademacher``, ``gaussian``, or ``sphere`` (uniform, of radius ``sqrt(dim)``).
    With ``variance_reduced`` it is SSM-VR, their eq. 9: ``1/2 |s|^2`` is the mean of
    the second term over all directions. One probe costs one directional derivative.

    >>> import jax, jax.numpy as jnp, score_sde as ss
    >>> objective = ss.SlicedScoreMatching(variance_reduced=True)
    >>> score_fn = lambda x, t: -x  # the loss is 1/2 |x|^2 - dim
    >>> objective.loss(jax.random.key(0), score_fn, jnp.ones(3), 0.5)
    Array(-1.5, dtype=float32)
    """

    num_probes: int = 1
    kind: ProbeKind = "rademacher"
    variance_reduced: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._directions()

    def loss(self, key: Key, score_fn: ScoreFn, x: Float[Array, "*shape"], t: ScalarLike) -> Scalar:
        """The mean over the directions, which are drawn from ``key``."""
        directions = self._directions().probes(key, x)
        score, jacobian = linearized(lambda y: score_fn(y, t), x, directions)
        curvature = self._directions().estimates(jacobian, directions)
        along = jax.vmap(lambda direction: jnp.vdot(direction, score))(directions)
        square = half_square(score) if self.variance_reduced else 0.5 * jnp.square(along)
        return jnp.mean(curvature + square)

    def _directions(self) -> Hutchinson:
        return Hutchinson(num_probes=self.num_probes, kind=self.kind)
