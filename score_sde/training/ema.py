"""The moving average of the parameters."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from score_sde.typing import Params, Scalar, ScalarLike


@dataclass(frozen=True, kw_only=True)
class EMA:
    """Exponential moving average ``ema <- ema + (1 - decay_n) (params - ema)``.

    With ``warmup``, ``decay_n = min(decay, (1 + n) / (10 + n))`` after update ``n``, so that the average does not hang
    on to the random initial parameters in a short run.

    Attributes:
        decay: The decay in the long run, in [0, 1).
        warmup: Whether the decay grows from small values.

    Raises:
        ValueError: For a decay outside [0, 1).
    """

    decay: float = 0.9999
    warmup: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"the decay of the moving average must lie in [0, 1), not {self.decay}")

    def decay_at(self, step: ScalarLike) -> Scalar:
        """The decay used at update ``step``, counted from 1."""
        n = jnp.asarray(step, jnp.float32)
        return jnp.minimum(self.decay, (1 + n) / (10 + n)) if self.warmup else jnp.full_like(n, self.decay)

    def update(self, ema_params: Params, params: Params, step: ScalarLike) -> Params:
        """The average after update ``step``, counted from 1, which gave ``params``."""
        rate = 1 - self.decay_at(step)
        return jax.tree.map(lambda ema, new: ema + (rate * (new - ema)).astype(ema.dtype), ema_params, params)
