"""Time grids: the nodes of a solver with fixed steps, from ``t_max`` down to ``t_min``.

A grid is a function from ``(sde, num_steps)`` to ``num_steps + 1`` decreasing times in
float64 NumPy, so that it is a constant of the compiled program. Grid and number of
steps are chosen at sampling time, independently of the training. ``ratio`` is the
noise-to-signal ratio ``sigma / alpha``. `adapted` is the default.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from score_sde import checks
from score_sde.sdes import SDE
from score_sde.solvers.marginal_levels import marginals_at, times_of_ratio, times_of_sigma

TimeGrid: TypeAlias = Callable[[SDE, int], Float[np.ndarray, " nodes"]]
"""``(sde, num_steps) ->`` decreasing times."""

LOG_RATIO_SHARE, TIME_SHARE = 0.25, 0.1
"""The fractions of the nodes of `adapted` that are even in ``log ratio`` and in ``t``;
the rest follows the Cauchy distribution.
"""

LOCATION, SCALE = -1.0, 2.8
"""The Cauchy distribution of ``log ratio``, for data with a standard deviation near one."""


def adapted(sde: SDE, num_steps: int) -> Float[np.ndarray, " nodes"]:
    """Equal steps in a mixture of three scales of the SDE's noise-to-signal ratio: the
    default grid.

    The steps are equal in ``u = 0.25 a + 0.1 b + 0.65 c``, where each term rises from 0
    at ``t_min`` to 1 at ``t_max``: ``a`` is linear in ``log ratio``, ``b`` is linear in
    ``t``, and ``c`` is the quantile of `CauchyGrid`. ``c`` puts the nodes where the
    sample takes shape. ``a`` bounds the factor by which the ratio changes in a step;
    without it, a solver in ``t`` is unstable at high ratios and a solver in the noise
    level at low ratios. ``b`` bounds the step where the ratio hardly changes with
    ``t``. These weights had the least error over all SDEs, samplers and Gaussian data
    of standard deviations from 0.05 to 2.

    >>> import score_sde as ss
    >>> adapted(ss.VPSDE(), 2).round(3)
    array([1.   , 0.207, 0.001])

    Raises:
        ValueError: where the ratio is not positive or falls; in a linear SDE it rises
            by ``d log ratio / dt = g^2 / (2 sigma^2)``.
    """
    times = _dense_times(sde)
    log_ratio = np.log(_rising_ratio(sde, times))
    quantile = np.arctan((log_ratio - LOCATION) / SCALE)
    u = (
        LOG_RATIO_SHARE * _unit(log_ratio)
        + TIME_SHARE * _unit(times)
        + (1.0 - LOG_RATIO_SHARE - TIME_SHARE) * _unit(quantile)
    )
    return _with_ends(sde, np.interp(np.linspace(1.0, 0.0, num_steps + 1), u, times))


def uniform(sde: SDE, num_steps: int) -> Float[np.ndarray, " nodes"]:
    """Equal steps in ``t`` (Song et al. 2021).

    >>> import score_sde as ss
    >>> uniform(ss.VPSDE(t_min=0.5), 2)
    array([1.  , 0.75, 0.5 ])
    """
    return np.linspace(sde.t_max, sde.t_min, num_steps + 1)


def quadratic(sde: SDE, num_steps: int) -> Float[np.ndarray, " nodes"]:
    """Equal steps in ``sqrt(t)``, which are finer near the data (Song, Meng & Ermon
    2021, appendix D.2).
    """
    return np.linspace(np.sqrt(sde.t_max), np.sqrt(sde.t_min), num_steps + 1) ** 2


def log_snr(sde: SDE, num_steps: int) -> Float[np.ndarray, " nodes"]:
    """Equal steps in the log signal-to-noise ratio ``log(alpha^2 / sigma^2)`` (Lu et
    al. 2022, section 3.3).
    """
    return _at_ratios(sde, np.geomspace(*_ends(sde), num_steps + 1))


def geometric(sde: SDE, num_steps: int) -> Float[np.ndarray, " nodes"]:
    """A geometric sequence of ``sigma``, as in NCSN (Song & Ermon 2019, section 4.1)."""
    first, last = marginals_at(sde, np.array([sde.t_max, sde.t_min])).sigma
    return _with_ends(sde, times_of_sigma(sde, np.geomspace(first, last, num_steps + 1)))


@dataclass(frozen=True, kw_only=True)
class EDMGrid:
    """Equal steps in ``ratio^(1 / rho)`` (Karras et al. 2022, eq. 5); ``rho = 1`` is
    uniform in the noise level.
    """

    rho: float = 7.0

    def __post_init__(self) -> None:
        checks.at_least(1.0, rho=self.rho, because="7 is the value of Karras et al. 2022")

    def __call__(self, sde: SDE, num_steps: int) -> Float[np.ndarray, " nodes"]:
        """``(ratio_max^(1/rho) + i / n (ratio_min^(1/rho) - ratio_max^(1/rho)))^rho``."""
        first, last = (end ** (1.0 / self.rho) for end in _ends(sde))
        return _at_ratios(sde, np.linspace(first, last, num_steps + 1) ** self.rho)


@dataclass(frozen=True, kw_only=True)
class CauchyGrid:
    """Nodes at equal steps of probability of a Cauchy distribution of ``log ratio``.

    The density of nodes falls as ``1 / (1 + z^2)`` with ``z = (log ratio - location) /
    scale``. At a high ratio the denoised sample is nearly the mean of the data, at a
    low one nearly the sample itself, so that few steps suffice there. Of the grids here
    it is the most accurate with few steps; ``docs/benchmarks/samplers.md`` has the
    numbers.
    """

    location: float = LOCATION
    scale: float = SCALE

    def __post_init__(self) -> None:
        checks.positive(scale=self.scale)

    def __call__(self, sde: SDE, num_steps: int) -> Float[np.ndarray, " nodes"]:
        """``log ratio = location + scale tan(angle)`` at equal steps of the angle."""
        first, last = (np.arctan((np.log(end) - self.location) / self.scale) for end in _ends(sde))
        angles = np.linspace(first, last, num_steps + 1)
        return _at_ratios(sde, np.exp(self.location + self.scale * np.tan(angles)))


@dataclass(frozen=True)
class Nodes:
    """A grid of given decreasing ``times``, one more than the number of steps.

    >>> import score_sde as ss
    >>> Nodes([1.0, 0.5, 0.001])(ss.VPSDE(), num_steps=2)
    array([1.   , 0.5  , 0.001])

    Raises:
        ValueError: where the times are fewer than two, or do not fall.
    """

    times: Sequence[float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "times", tuple(map(float, self.times)))  # a hashable value
        checks.require(
            len(self.times) >= 2 and (np.diff(self.times) < 0.0).all(),
            "the times of a grid must be at least two, and fall from the prior to the data",
        )

    def __call__(self, sde: SDE, num_steps: int) -> Float[np.ndarray, " nodes"]:
        """The times themselves."""
        del sde
        checks.require(
            len(self.times) == num_steps + 1,
            f"num_steps={num_steps} must be {len(self.times) - 1}, the number of steps of a grid "
            f"of {len(self.times)} times",
        )
        return np.array(self.times)


def told_apart(times: Float[np.ndarray, " nodes"]) -> Float[np.ndarray, " nodes"]:
    """Falling ``times`` with equal neighbours in float32 moved apart by one unit in the
    last place, so that no step of a float32 solver has length 0.

    Raises:
        ValueError: where float32 has fewer numbers than there are times between the
            first and the last.
    """
    single = times.astype(np.float32)
    if (np.diff(single) < 0.0).all():
        return times
    for i in range(len(single) - 2, -1, -1):
        single[i] = max(single[i], np.nextafter(single[i + 1], np.float32(np.inf)))
    single[0] = np.float32(times[0])
    for i in range(1, len(single)):
        single[i] = min(single[i], np.nextafter(single[i - 1], np.float32(-np.inf)))
    checks.require(
        single[-1] >= np.float32(times[-1]),
        f"{len(times) - 1} steps from {times[0]:g} to {times[-1]:g} are more than float32 can "
        "distinguish: take fewer",
    )
    return np.concatenate([times[:1], single[1:-1].astype(np.float64), times[-1:]])


def _dense_times(sde: SDE) -> Float[np.ndarray, " times"]:
    """Rising times, dense in every order of magnitude of ``t`` and of ``t_max - t``."""
    length = sde.t_max - sde.t_min
    near_data = np.geomspace(sde.t_min, sde.t_max, 4001)
    near_prior = sde.t_max - np.geomspace(1e-9 * length, length, 2001)
    inner = np.concatenate([near_data, near_prior, np.linspace(sde.t_min, sde.t_max, 2001)])
    inner = inner[(inner > sde.t_min) & (inner < sde.t_max)]
    return np.unique(np.concatenate([[sde.t_min], inner, [sde.t_max]]))


def _rising_ratio(sde: SDE, times: Float[np.ndarray, " times"]) -> Float[np.ndarray, " times"]:
    """``ratio`` at rising times; where ``alpha = 0`` makes it infinite, the largest
    finite one.
    """
    with np.errstate(divide="ignore"):
        ratio = marginals_at(sde, times).ratio
    finite = ratio[np.isfinite(ratio)]
    rises = len(finite) > 0 and finite.min() > 0.0 and not np.isnan(ratio).any()
    checks.require(
        # It may fall by rounding.
        rises and (finite[1:] >= finite[:-1] * (1.0 - 1e-6)).all() and finite[-1] > finite[0],
        f"sigma / alpha of {type(sde).__name__} must be positive and rise from t_min to t_max, as "
        "in every linear SDE; for other marginals choose a grid such as uniform",
    )
    return np.minimum(ratio, finite.max())


def _unit(values: Float[np.ndarray, " times"]) -> Float[np.ndarray, " times"]:
    """The values shifted and scaled so that the first is 0 and the last is 1."""
    return (values - values[0]) / (values[-1] - values[0])


def _ends(sde: SDE) -> tuple[float, float]:
    """``ratio`` at ``t_max`` and at ``t_min``."""
    first, last = marginals_at(sde, np.array([sde.t_max, sde.t_min])).ratio
    return float(first), float(last)


def _at_ratios(sde: SDE, ratio: Float[np.ndarray, " nodes"]) -> Float[np.ndarray, " nodes"]:
    return _with_ends(sde, times_of_ratio(sde, ratio))


def _with_ends(sde: SDE, times: Float[np.ndarray, " nodes"]) -> Float[np.ndarray, " nodes"]:
    """The times with ``t_max`` and ``t_min`` themselves as ends, free of rounding."""
    return np.concatenate([[sde.t_max], times[1:-1], [sde.t_min]])
