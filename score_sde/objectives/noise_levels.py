"""The loss by noise level, for the logs of training."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from score_sde.objectives.time_sampling import TimeSampling
from score_sde.precision import nans_raise
from score_sde.sdes import SDE
from score_sde.typing import Scalar

NUM_LEVELS = 10
"""The number of intervals of the log signal-to-noise ratio."""

NEAR_DATA = 1e-5
"""The first time of the intervals as a fraction of ``t_max``, where times begin at 0:
the signal-to-noise ratio may be infinite there.
"""


class NoiseLevels(NamedTuple):
    """The log signal-to-noise ratios from ``low`` to ``high``, in intervals of equal
    length whose losses are logged one by one.
    """

    low: float
    high: float

    @classmethod
    def of(cls, sde: SDE, times: TimeSampling) -> "NoiseLevels":
        """The intervals that cover the times drawn by ``times``."""
        first = max(times.first(sde), NEAR_DATA * sde.t_max)
        ends = jax.jit(lambda: (sde.log_snr(sde.t_max), sde.log_snr(first)))()
        return cls(*map(float, ends))

    @property
    def middles(self) -> list[float]:
        """The log signal-to-noise ratio in the middle of each interval."""
        width = (self.high - self.low) / NUM_LEVELS
        return [self.low + (level + 0.5) * width for level in range(NUM_LEVELS)]

    def sort(self, loss: Scalar, log_snr: Scalar) -> dict[str, Scalar]:
        """The loss of one example under the name of its interval, and NaN under the
        names of the others; nothing under ``jax_debug_nans``, for which a level without
        examples is an error.
        """
        if nans_raise():
            return {}
        place = (log_snr - self.low) / (self.high - self.low) * NUM_LEVELS
        own = jnp.clip(jnp.floor(place), 0, NUM_LEVELS - 1)
        return {
            name_of(middle): jnp.where(own == level, loss, jnp.nan)
            for level, middle in enumerate(self.middles)
        }


PREFIX = "loss_at_log_snr_"


def name_of(log_snr: float) -> str:
    """The name of an interval in the metrics of training, by its middle."""
    return f"{PREFIX}{log_snr:+.2f}"


def log_snr_of(name: str) -> float | None:
    """The middle of the interval that a name stands for; None for other names."""
    return float(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
