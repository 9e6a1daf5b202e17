"""The loss by noise level, for whoever watches a training."""

from typing import NamedTuple

import jax.numpy as jnp

from score_sde.objectives.time_sampling import TimeSampling
from score_sde.sdes import SDE
from score_sde.typing import Scalar

NUM_LEVELS = 10
NEAR_DATA = 1e-5
"""Where the levels begin, as a part of ``t_max``, for times from 0: the signal-to-noise
ratio may be infinite there.
"""


class NoiseLevels(NamedTuple):
    """Equal parts of the log signal-to-noise ratios from ``low`` to ``high``."""

    low: float
    high: float

    @classmethod
    def of(cls, sde: SDE, times: TimeSampling) -> "NoiseLevels":
        """Those of all times that are drawn."""
        first = max(times.first(sde), NEAR_DATA * sde.t_max)
        return cls(float(sde.log_snr(sde.t_max)), float(sde.log_snr(first)))

    @property
    def middles(self) -> list[float]:
        """The log signal-to-noise ratio in the middle of each level."""
        width = (self.high - self.low) / NUM_LEVELS
        return [self.low + (level + 0.5) * width for level in range(NUM_LEVELS)]

    def sort(self, loss: Scalar, log_snr: Scalar) -> dict[str, Scalar]:
        """The loss of one example under the name of its level; NaN, for no value, under
        those of the others.
        """
        place = (log_snr - self.low) / (self.high - self.low) * NUM_LEVELS
        own = jnp.clip(jnp.floor(place), 0, NUM_LEVELS - 1)
        return {
            name_of(middle): jnp.where(own == level, loss, jnp.nan)
            for level, middle in enumerate(self.middles)
        }


PREFIX = "loss_at_log_snr_"


def name_of(log_snr: float) -> str:
    """The name of a level in the metrics of training."""
    return f"{PREFIX}{log_snr:+.2f}"


def log_snr_of(name: str) -> float | None:
    """The level of a name; None for other names."""
    return float(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
