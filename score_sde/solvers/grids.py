"""Time grids: the instants that a fixed-step solver visits, from ``t_max`` down to ``t_min``.

A grid is a function ``(sde, num_steps) -> [num_steps + 1]`` decreasing times in float64
NumPy, so that it is a constant of the compiled program. The number of steps and the
grid are free at sampling time, whatever the training used. ``ratio`` is ``sigma /
alpha``, the noise level of the data when its scale is kept. `adapted` is the default.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from score_sde.sdes import SDE
from score_sde.solvers.marginal_levels import marginals_at, times_of_ratio, times_of_sigma

TimeGrid: TypeAlias = Callable[[SDE, int], Float[np.ndarray, " nodes"]]
"""``(sde, num_steps) ->`` decreasing times."""

LOG_RATIO_SHARE, TIME_SHARE = 0.25, 0.1
"""The parts of the nodes of `adapted` that are spread evenly in ``log ratio`` and in
``t``; the others as Cauchy's.
"""

LOCATION, SCALE = -1.0, 2.8
"""Of the Cauchy distribution of ``log ratio``, for data of a scale of about one."""


def adapted(sde: SDE, num_steps: int) -> Float[np.ndarray, " nodes"]:
    """Steps chosen from the SDE's own noise-to-signal ratio: the default, for solvers
    in ``t`` and in the noise level.

    Equal steps in ``u = 0.25 a + 0.1 b + 0.65 c``, each of which rises from 0 at
    ``t_min`` to 1 at ``t_max``: ``a`` is linear in ``log ratio``, ``b`` linear in
    ``t``, and ``c`` the quantile of `CauchyGrid`. ``c`` spends the nodes where the
    image is decided; ``a`` bounds the factor of the noise in a step, without which a
    solver in ``t`` is unstable at a high ratio and one in the noise level at a low
    ratio; ``b`` bounds the step where the ratio hardly changes with ``t``. The weights
    have the least error over all SDEs, samplers and scales of Gaussian data from 0.05
    to 2 among mixtures of these three.

    Raises:
        ValueError: the ratio is not positive or falls somewhere, which no linear SDE
            can do: ``d log ratio / dt = g^2 / (2 sigma^2)``.
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
    """Equal steps in ``t`` (Song et al. 2021)."""
    return np.linspace(sde.t_max, sde.t_min, num_steps + 1)


def quadratic(sde: SDE, num_steps: int) -> Float[np.ndarray, " nodes"]:
    """Equal steps in ``sqrt(t)``: finer near the data (Song, Meng & Ermon 2021, appendix D.2)."""
    return np.linspace(np.sqrt(sde.t_max), np.sqrt(sde.t_min), num_steps + 1) ** 2


def log_snr(sde: SDE, num_steps: int) -> Float[np.ndarray, " nodes"]:
    """Equal steps in the log signal-to-noise ratio ``log(alpha^2 / sigma^2)`` (Lu et
    al. 2022, section 3.3).
    """
    return _at_ratios(sde, np.geomspace(*_ends(sde), num_steps + 1))


def geometric(sde: SDE, num_steps: int) -> Float[np.ndarray, " nodes"]:
    """Noise levels ``sigma`` of equal ratio, as those of NCSN (Song & Ermon 2019, section 4.2)."""
    first, last = marginals_at(sde, np.array([sde.t_max, sde.t_min])).sigma
    return _with_ends(sde, times_of_sigma(sde, np.geomspace(first, last, num_steps + 1)))


@dataclass(frozen=True, kw_only=True)
class EDMGrid:
    """Equal steps in ``ratio^(1 / rho)`` (Karras et al. 2022, equation 5); ``rho = 1``
    is uniform in the noise.
    """

    rho: float = 7.0

    def __post_init__(self) -> None:
        if not self.rho >= 1.0:
            raise ValueError(
                f"rho={self.rho} must be at least 1 (7 is the value of Karras et al. 2022)"
            )

    def __call__(self, sde: SDE, num_steps: int) -> Float[np.ndarray, " nodes"]:
        """``(ratio_max^(1/rho) + i / n (ratio_min^(1/rho) - ratio_max^(1/rho)))^rho``."""
        first, last = (end ** (1.0 / self.rho) for end in _ends(sde))
        return _at_ratios(sde, np.linspace(first, last, num_steps + 1) ** self.rho)


@dataclass(frozen=True, kw_only=True)
class CauchyGrid:
    """Equal probabilities of a Cauchy distribution of ``log ratio``: steps where the
    image is decided.

    The density of nodes falls as ``1 / (1 + z^2)`` with ``z = (log ratio - location) /
    scale``. At a high ratio the denoised image is nearly the mean of the data, at a low
    one nearly the image itself; there a few steps suffice. Of the grids here it is the
    most exact with few steps; ``docs/benchmarks/samplers.md`` has the figures.
    """

    location: float = LOCATION
    scale: float = SCALE

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
            raise ValueError(
                "the times of a grid must be at least two, and fall from the prior to the data"
            )

    def __call__(self, sde: SDE, num_steps: int) -> Float[np.ndarray, " nodes"]:
        """The times themselves."""
        del sde
        if len(self.times) != num_steps + 1:
            raise ValueError(
                f"a grid of {len(self.times)} times has {len(self.times) - 1} steps, not "
                f"{num_steps}"
            )
        return np.array(self.times)


def told_apart(times: Float[np.ndarray, " nodes"]) -> Float[np.ndarray, " nodes"]:
    """Falling ``times`` that are distinct in float32 too: where they are not,
    neighbours move apart by its last digit.

    A float32 solver would take steps of length zero otherwise.

    Raises:
        ValueError: there are more times than float32 has numbers between the first and
            the last.
    """
    single = times.astype(np.float32)
    if (np.diff(single) < 0.0).all():
        return times
    for i in range(len(single) - 2, -1, -1):
        single[i] = max(single[i], np.nextafter(single[i + 1], np.float32(np.inf)))
    single[0] = np.float32(times[0])
    for i in range(1, len(single)):
        single[i] = min(single[i], np.nextafter(single[i - 1], np.float32(-np.inf)))
    if single[-1] < np.float32(times[-1]):
        raise ValueError(
            f"{len(times) - 1} steps from {times[0]:g} to {times[-1]:g} are more than float32 "
            "tells apart: take fewer"
        )
    return np.concatenate([times[:1], single[1:-1].astype(np.float64), times[-1:]])


def _dense_times(sde: SDE) -> Float[np.ndarray, " times"]:
    """Rising times, many of every order of magnitude of ``t`` and of ``t_max - t``."""
    length = sde.t_max - sde.t_min
    near_data = np.geomspace(sde.t_min, sde.t_max, 4001)
    near_prior = sde.t_max - np.geomspace(1e-9 * length, length, 2001)
    inner = np.concatenate([near_data, near_prior, np.linspace(sde.t_min, sde.t_max, 2001)])
    inner = inner[(inner > sde.t_min) & (inner < sde.t_max)]
    return np.unique(np.concatenate([[sde.t_min], inner, [sde.t_max]]))


def _rising_ratio(sde: SDE, times: Float[np.ndarray, " times"]) -> Float[np.ndarray, " times"]:
    """``ratio`` at rising times. Where nothing is left of the data it is infinite:
    there, the largest finite one.
    """
    with np.errstate(divide="ignore"):
        ratio = marginals_at(sde, times).ratio
    finite = ratio[np.isfinite(ratio)]
    rises = len(finite) > 0 and finite.min() > 0.0 and not np.isnan(ratio).any()
    # By less than rounding it may fall.
    if not (rises and (finite[1:] >= finite[:-1] * (1.0 - 1e-6)).all() and finite[-1] > finite[0]):
        raise ValueError(
            f"sigma / alpha of {type(sde).__name__} must be positive and rise from t_min to t_max, "
            "as in every linear "
            "SDE; for other marginals name a grid such as uniform"
        )
    return np.minimum(ratio, finite.max())


def _unit(values: Float[np.ndarray, " times"]) -> Float[np.ndarray, " times"]:
    """The values from 0 at the first to 1 at the last."""
    return (values - values[0]) / (values[-1] - values[0])


def _ends(sde: SDE) -> tuple[float, float]:
    """``ratio`` at ``t_max`` and at ``t_min``."""
    first, last = marginals_at(sde, np.array([sde.t_max, sde.t_min])).ratio
    return float(first), float(last)


def _at_ratios(sde: SDE, ratio: Float[np.ndarray, " nodes"]) -> Float[np.ndarray, " nodes"]:
    return _with_ends(sde, times_of_ratio(sde, ratio))


def _with_ends(sde: SDE, times: Float[np.ndarray, " nodes"]) -> Float[np.ndarray, " nodes"]:
    """The times with the two ends as they are, free of rounding."""
    return np.concatenate([[sde.t_max], times[1:-1], [sde.t_min]])
