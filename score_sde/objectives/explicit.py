"""Explicit score matching, which needs the divergence of the score instead of the noise."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike, Shaped

from score_sde.divergence import Divergence, ExactTrace, value_and_divergence
from score_sde.objectives.base import WeightedScoreMatching, half_square
from score_sde.precision import wide, wide_score, wide_time
from score_sde.sdes import SDE, perturb
from score_sde.typing import Key, Scalar, ScalarLike, ScoreFn


@dataclass(frozen=True, kw_only=True)
class ExplicitScoreMatching(WeightedScoreMatching):
    """``E_t lambda(t) [1/2 |s(x_t, t)|^2 + div s(x_t, t)]`` (Hyvärinen 2005, theorem 1,
    at every noise level).

    It is denoising score matching up to a constant, for integration by parts turns ``E
    s . grad log p_t`` into ``-E div s``. The divergence may be exact, or any estimate
    of it: with Hutchinson's it is sliced score matching of reduced variance.
    ``FixedTime(t=0.0)`` and the weighting ``unweighted`` take the data as they are,
    without noise; their density must then be smooth, and vanish where its support ends.
    """

    divergence: Divergence = ExactTrace()  # noqa: RUF009 - a frozen value

    def at_time(
        self, key: Key, sde: SDE, score_fn: ScoreFn, x0: Shaped[ArrayLike, "*shape"], t: ScalarLike
    ) -> Scalar:
        """``lambda (1/2 |s|^2 + div s)`` at ``x_t``, reduced; noise and probes are
        drawn from ``key``.
        """
        x0, t, score_fn = wide(x0, "x0"), wide_time(t), wide_score(score_fn)
        noise_key, probe_key = jax.random.split(key)
        x = perturb(sde, x0, t, jax.random.normal(noise_key, x0.shape, x0.dtype))
        probes = self.divergence.probes(probe_key, x)
        score, divergence = value_and_divergence(score_fn, x, t, self.divergence, probes)
        return self.weighting(sde, t) * self.reduced(
            half_square(score) + jnp.mean(divergence), x0.size
        )
