"""Correctors: steps of Langevin dynamics at one noise level, which leave ``p_t`` where it is."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from score_sde.sdes.base import SDE
from score_sde.typing import Key, ScalarLike, ScoreFn


@dataclass(frozen=True, kw_only=True)
class Langevin:
    """``x + eps score + sqrt(2 eps) z``, where ``eps = 2 a (snr |z| / |score|)^2`` (Song et al. 2021, algorithms 4
    and 5).

    ``a`` is the squared signal scale of one step: 1 for VE and ``1 - beta_i`` for VP, as in the paper, and for every
    SDE ``(alpha(t) / alpha(t_next))^2``.

    ``|z| / |score|`` is ``sigma(t)``, the ratio of the expected norms for data that fills few of its dimensions, as
    images do. The norms of the sample itself would make the step depend on ``x``, and such a chain does not keep
    ``p_t``: in two dimensions it tripled the spread of a mixture's modes. With ``axis_name``, a ``vmap``, ``pmap`` or
    ``shard_map`` axis, the ratio is that of the mean norms over the axis, as in the published code; a sample then
    depends on its batch.
    """

    snr: float = 0.16
    axis_name: str | None = None

    def __post_init__(self) -> None:
        if not self.snr > 0.0:
            raise ValueError(f"snr={self.snr} must be positive (0.16 is the value of Song et al. for CIFAR-10)")

    def __call__(
        self,
        key: Key,
        sde: SDE,
        score_fn: ScoreFn,
        x: Float[Array, "*shape"],
        t: ScalarLike,
        t_next: ScalarLike,
    ) -> Float[Array, "*shape"]:
        """One Langevin step at ``t``, for one evaluation of the score."""
        score = score_fn(x, t)
        noise = jax.random.normal(key, x.shape, x.dtype)
        ratio = self._noise_to_score(noise, score, sde.marginal(t).sigma)
        step = 2.0 * jnp.square(sde.transition(t_next, t).alpha * self.snr * ratio)
        return x + step * score + jnp.sqrt(2.0 * step) * noise

    def _noise_to_score(
        self, noise: Float[Array, "*shape"], score: Float[Array, "*shape"], sigma: ScalarLike
    ) -> ScalarLike:
        """``|z| / |score|``, expected or averaged over the axis."""
        if self.axis_name is None:
            return sigma
        norms = jnp.stack([jnp.linalg.norm(jnp.ravel(noise)), jnp.linalg.norm(jnp.ravel(score))])
        noise_norm, score_norm = jax.lax.pmean(norms, self.axis_name)
        return noise_norm / score_norm
