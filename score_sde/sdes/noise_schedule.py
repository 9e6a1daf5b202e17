"""The noise schedules of discrete-time diffusion models as published code names them,
in float64 by NumPy.
"""

from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float

Betas: TypeAlias = Float[np.ndarray, " levels"]
Schedule: TypeAlias = Literal["linear", "scaled_linear", "cosine", "sigmoid"]
SCHEDULES: tuple[Schedule, ...] = ("linear", "scaled_linear", "cosine", "sigmoid")

MAX_LEVELS = 100_000
"""The most levels of a table: a hundred times those of the published models."""


def scheduled_betas(
    schedule: Schedule = "linear",
    num_levels: int = 1000,
    *,
    beta_start: float = 1e-4,
    beta_end: float = 0.02,
) -> Betas:
    """``beta_i``, the variance of the noise that step ``i`` adds, of every level.

    ``linear`` is evenly spaced from ``beta_start`` to ``beta_end`` (Ho et al. 2020,
    section 4), ``scaled_linear`` the square of evenly spaced roots (Rombach et al.
    2022), ``sigmoid`` follows ``1 / (1 + exp(-u))`` for ``u`` from -6 to
    6. ``cosine`` has ``alpha^2`` proportional to ``cos^2((t + 0.008) / 1.008 pi / 2)``
    and no ``beta_i`` above 0.999 (Nichol & Dhariwal 2021, equation 17); it ignores
    ``beta_start`` and ``beta_end``.

    Raises:
        ValueError: an unknown schedule, a number of levels outside 2 to 100,000, or
            ``beta`` outside (0, 1).
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"unknown schedule {schedule!r}: choose one of {', '.join(SCHEDULES)}")
    if not 2 <= num_levels <= MAX_LEVELS:
        raise ValueError(f"num_levels={num_levels} must lie from 2 to {MAX_LEVELS}")
    if schedule == "cosine":
        angles = (np.arange(num_levels + 1) / num_levels + 0.008) / 1.008 * (0.5 * np.pi)
        signal = np.square(np.cos(angles))
        return np.minimum(1.0 - signal[1:] / signal[:-1], 0.999)
    if not 0.0 < beta_start <= beta_end < 1.0:
        raise ValueError(f"0 < beta_start <= beta_end < 1 must hold, got {beta_start}, {beta_end}")
    if schedule == "scaled_linear":
        return np.square(np.linspace(np.sqrt(beta_start), np.sqrt(beta_end), num_levels))
    if schedule == "sigmoid":
        return beta_start + (beta_end - beta_start) / (
            1.0 + np.exp(-np.linspace(-6.0, 6.0, num_levels))
        )
    return np.linspace(beta_start, beta_end, num_levels)


def log_alphas(betas: Betas, *, zero_terminal_snr: bool = False) -> Betas:
    """``log alpha_i`` of every level, ``alpha_i^2 = prod_{j <= i} (1 - beta_j)`` (Ho et
    al. 2020, equation 4).

    ``zero_terminal_snr`` shifts and scales ``alpha_i`` linearly so that the last is 0,
    whose logarithm is ``-inf``, and the first stays (Lin et al. 2024, algorithm 1).
    """
    log_alpha = 0.5 * np.cumsum(np.log1p(-betas))
    if not zero_terminal_snr:
        return log_alpha
    alpha = np.exp(log_alpha)
    with np.errstate(divide="ignore"):
        # The logarithm of the factor: near the data, alpha itself has no digits left
        # for 1 - alpha^2.
        factor = (1.0 - alpha[-1] / alpha) / (1.0 - alpha[-1] / alpha[0])
        return log_alpha + np.log(factor)
