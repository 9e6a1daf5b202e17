"""The objectives of DDPM, on the levels of its noise table."""

import typing
from dataclasses import dataclass
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from score_sde import checks
from score_sde.objectives.base import ScoreMatching, half_square
from score_sde.objectives.time_sampling import DiscreteTime
from score_sde.precision import wide, wide_score, wide_time
from score_sde.sdes import SDE, DiscreteMarginals, ddpm_betas, ddpm_marginals
from score_sde.typing import Key, SampleLike, Scalar, ScalarLike, ScoreFn

Terms: TypeAlias = Literal["simple", "vlb"]


@dataclass(frozen=True, kw_only=True)
class DDPMLoss(ScoreMatching):
    """``E_i w_i |eps_theta(x_i, i) - eps|^2`` over the ``num_scales`` levels of DDPM
    (Ho et al. 2020, eqs. 12 and 14).

    ``x_i = alpha_i x_0 + sigma_i eps`` follows DDPM's table instead of the SDE, and
    ``eps_theta = -sigma_i s``. ``terms="simple"`` has ``w_i = 1``. ``terms="vlb"`` has
    the weight of the variational bound, ``w_i = beta_i^2 / (v_i (1 - beta_i)
    sigma_i^2)``, with the variance ``v_i = beta_i sigma_{i-1}^2 / sigma_i^2`` of
    ``x_{i-1}`` given ``x_i`` and ``x_0`` (``beta_i`` at the first level, where ``v_i``
    would be 0). Its ``half_sum`` times ``num_scales`` is the bound in nats without the
    decoder and the terms free of parameters.

    It trains networks of `DiscreteNoisePrediction` with the same ``num_scales``,
    ``beta_min`` and ``beta_max``.

    >>> import score_sde as ss
    >>> float(ss.DDPMLoss(num_scales=100).weights().max())
    1.0
    """

    num_scales: int = 1000
    beta_min: float = 0.1
    beta_max: float = 20.0
    terms: Terms = "simple"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.one_of(typing.get_args(Terms), terms=self.terms)
        self.marginals()

    @property
    def times(self) -> DiscreteTime:
        """All levels with equal probability."""
        return DiscreteTime(num_scales=self.num_scales)

    def marginals(self) -> DiscreteMarginals:
        """``alpha_i`` and ``sigma_i`` of all levels."""
        return ddpm_marginals(self.num_scales, beta_min=self.beta_min, beta_max=self.beta_max)

    def at_time(
        self, key: Key, sde: SDE, score_fn: ScoreFn, x0: SampleLike, t: ScalarLike
    ) -> Scalar:
        """``w_i |sigma_i s(x_i, t) + eps|^2`` at the level of ``t``, with ``eps`` drawn
        from ``key``, reduced.
        """
        x0, t, score_fn = wide(x0, "x0"), wide_time(t), wide_score(score_fn)
        level = jnp.round(jnp.asarray(t) * ((self.num_scales - 1) / sde.t_max)).astype(jnp.int32)
        alpha, sigma, weight = (
            jnp.asarray(row, x0.dtype)[level] for row in (*self.marginals(), self.weights())
        )
        noise = jax.random.normal(key, x0.shape, x0.dtype)
        residual = sigma * score_fn(alpha * x0 + sigma * noise, t) + noise
        return weight * self.reduced(half_square(residual), x0.size)

    def weights(self) -> Float[np.ndarray, " levels"]:
        """``w_i`` of all levels."""
        if self.terms == "simple":
            return np.ones(self.num_scales)
        betas = ddpm_betas(self.num_scales, beta_min=self.beta_min, beta_max=self.beta_max)
        variance = np.square(self.marginals().sigma)
        posterior = np.append(betas[0], betas[1:] * variance[:-1] / variance[1:])
        return np.square(betas) / (posterior * (1.0 - betas) * variance)
