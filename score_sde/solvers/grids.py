"""Time grids: the instants that a fixed-step solver visits, from ``t_max`` down to ``t_min``.

A grid is a function ``(sde, num_steps) -> [num_steps + 1]`` decreasing times in float64 NumPy, so that it is a
constant of the compiled program. The number of steps and the grid are free at sampling time, whatever the training
used. ``ratio`` is ``sigma / alpha``, the noise level of the data when its scale is kept.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from score_sde.sdes.base import SDE
from score_sde.solvers.noise_levels import noise_levels, times_of_ratio, times_of_sigma

TimeGrid: TypeAlias = Callable[[SDE, int], Float[np.ndarray, " nodes"]]
"""``(sde, num_steps) ->`` decreasing times."""


def uniform(sde: SDE, num_steps: int) -> Float[np.ndarray, " nodes"]:
    """Equal steps in ``t`` (Song et al. 2021)."""
    return np.linspace(sde.t_max, sde.t_min, num_steps + 1)


def quadratic(sde: SDE, num_steps: int) -> Float[np.ndarray, " nodes"]:
    """Equal steps in ``sqrt(t)``: finer near the data (Song, Meng & Ermon 2021, appendix D.2)."""
    return np.linspace(np.sqrt(sde.t_max), np.sqrt(sde.t_min), num_steps + 1) ** 2


def log_snr(sde: SDE, num_steps: int) -> Float[np.ndarray, " nodes"]:
    """Equal steps in the log signal-to-noise ratio ``log(alpha^2 / sigma^2)`` (Lu et al. 2022, section 3.3)."""
    return _at_ratios(sde, np.geomspace(*_ends(sde), num_steps + 1))


def geometric(sde: SDE, num_steps: int) -> Float[np.ndarray, " nodes"]:
    """Noise levels ``sigma`` of equal ratio, as those of NCSN (Song & Ermon 2019, section 4.2)."""
    first, last = noise_levels(sde, np.array([sde.t_max, sde.t_min])).sigma
    return _with_ends(sde, times_of_sigma(sde, np.geomspace(first, last, num_steps + 1)))


@dataclass(frozen=True, kw_only=True)
class EDMGrid:
    """Equal steps in ``ratio^(1 / rho)`` (Karras et al. 2022, equation 5); ``rho = 1`` is uniform in the noise."""

    rho: float = 7.0

    def __post_init__(self) -> None:
        if not self.rho >= 1.0:
            raise ValueError(f"rho={self.rho} must be at least 1 (7 is the value of Karras et al. 2022)")

    def __call__(self, sde: SDE, num_steps: int) -> Float[np.ndarray, " nodes"]:
        """``(ratio_max^(1/rho) + i / n (ratio_min^(1/rho) - ratio_max^(1/rho)))^rho``."""
        first, last = (end ** (1.0 / self.rho) for end in _ends(sde))
        return _at_ratios(sde, np.linspace(first, last, num_steps + 1) ** self.rho)


@dataclass(frozen=True, kw_only=True)
class CauchyGrid:
    """Equal probabilities of a Cauchy distribution of ``log ratio``: steps where the image is decided.

    The density of nodes falls as ``1 / (1 + z^2)`` with ``z = (log ratio - location) / scale``. At a high ratio the
    denoised image is nearly the mean of the data, at a low one nearly the image itself; there a few steps suffice. Of
    the grids here it is the most exact with few steps; ``docs/benchmarks/samplers.md`` has the figures.
    """

    location: float = -1.0
    scale: float = 2.8

    def __post_init__(self) -> None:
        if not self.scale > 0.0:
            raise ValueError(f"scale={self.scale} must be positive")

    def __call__(self, sde: SDE, num_steps: int) -> Float[np.ndarray, " nodes"]:
        """``log ratio = location + scale tan(angle)`` at equal steps of the angle."""
        first, last = (np.arctan((np.log(end) - self.location) / self.scale) for end in _ends(sde))
        angles = np.linspace(first, last, num_steps + 1)
        return _at_ratios(sde, np.exp(self.location + self.scale * np.tan(angles)))


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """Any decreasing ``times``, one more than there are steps."""

    times: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.times) < 2 or not (np.diff(self.times) < 0.0).all():
            raise ValueError("the times of a grid must be at least two, and fall from the prior to the data")

    def __call__(self, sde: SDE, num_steps: int) -> Float[np.ndarray, " nodes"]:
        """The times themselves."""
        del sde
        if len(self.times) != num_steps + 1:
            raise ValueError(f"a grid of {len(self.times)} times has {len(self.times) - 1} steps, not {num_steps}")
        return np.array(self.times)


def _ends(sde: SDE) -> tuple[float, float]:
    """``ratio`` at ``t_max`` and at ``t_min``."""
    first, last = noise_levels(sde, np.array([sde.t_max, sde.t_min])).ratio
    return float(first), float(last)


def _at_ratios(sde: SDE, ratio: Float[np.ndarray, " nodes"]) -> Float[np.ndarray, " nodes"]:
    return _with_ends(sde, times_of_ratio(sde, ratio))


def _with_ends(sde: SDE, times: Float[np.ndarray, " nodes"]) -> Float[np.ndarray, " nodes"]:
    """The times with the two ends as they are, free of rounding."""
    return np.concatenate([[sde.t_max], times[1:-1], [sde.t_min]])
