"""Score matching with the divergence of the score in place of a target."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from score_sde.divergence import Divergence, ExactTrace, value_and_divergence
from score_sde.objectives.base import TargetFreeScoreMatching, half_square
from score_sde.typing import Key, Scalar, ScalarLike, ScoreFn


@dataclass(frozen=True, kw_only=True)
class ExplicitScoreMatching(TargetFreeScoreMatching):
    """``E_t lambda(t) [1/2 |s(x_t, t)|^2 + div s(x_t, t)]`` (Hyvärinen 2005, theorem 1,
    at every noise level).

    It equals denoising score matching up to a constant, since integration by parts
    turns ``E s . grad log p_t`` into ``-E div s``. ``divergence`` is exact or any
    estimator; with Hutchinson's it is sliced score matching of reduced variance. With
    ``FixedTime(t=0.0)`` and the weighting ``unweighted`` the data have no noise added;
    their density must then be smooth and vanish at the boundary of its support.

    >>> import jax, jax.numpy as jnp, score_sde as ss
    >>> objective = ss.ExplicitScoreMatching()
    >>> score_fn = lambda x, t: -x  # the loss is 1/2 |x|^2 - dim
    >>> objective.loss(jax.random.key(0), score_fn, jnp.ones(3), 0.5)
    Array(-1.5, dtype=float32)
    """

    divergence: Divergence = ExactTrace()  # noqa: RUF009 - a frozen value

    def loss(self, key: Key, score_fn: ScoreFn, x: Float[Array, "*shape"], t: ScalarLike) -> Scalar:
        """``1/2 |s|^2 + div s``."""
        probes = self.divergence.probes(key, x)
        score, divergence = value_and_divergence(score_fn, x, t, self.divergence, probes)
        return half_square(score) + jnp.mean(divergence)
