"""Noise tables of discrete-time models, whose limits for many levels are the SDEs.

They are computed in float64 by NumPy once, when a model is built (Song et al. 2021,
section 3 and appendix C).
"""

from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float

from score_sde import checks
from score_sde.renamed import renamed

Betas: TypeAlias = Float[np.ndarray, " levels"]
Schedule: TypeAlias = Literal["linear", "scaled_linear", "cosine", "sigmoid"]
SCHEDULES: tuple[Schedule, ...] = ("linear", "scaled_linear", "cosine", "sigmoid")

MAX_LEVELS = 100_000
"""The greatest length of a table: a hundred times that of published models."""


class DiscreteMarginals(NamedTuple):
    """``p(x_i | x_0) = N(alpha_i x_0, sigma_i^2 I)`` for every level ``i``, from the
    least noise to the most.
    """

    alpha: Float[np.ndarray, " levels"]
    sigma: Float[np.ndarray, " levels"]


def ddpm_betas(
    num_scales: int = 1000, *, beta_min: float = 0.1, beta_max: float = 20.0
) -> Float[np.ndarray, " levels"]:
    """DDPM's ``beta_i``: ``num_scales`` numbers from ``beta_min / num_scales`` to
    ``beta_max / num_scales``, evenly spaced.

    With 1,000 levels they run from 0.0001 to 0.02 (Ho et al. 2020, section 4).

    >>> ddpm_betas(1000)[[0, -1]]
    array([0.0001, 0.02  ])

    Raises:
        ValueError: where there are fewer than two levels, or a ``beta_i`` is outside
            (0, 1).
    """
    checks.at_least(2, num_scales=num_scales)
    checks.positive(beta_min=beta_min)
    checks.at_least(beta_min, beta_max=beta_max, because="the value of beta_min")
    checks.increasing(
        beta_max=beta_max, num_scales=num_scales, because="so that beta_max / num_scales is below 1"
    )
    return np.linspace(beta_min / num_scales, beta_max / num_scales, num_scales)


def ddpm_marginals(
    num_scales: int = 1000, *, beta_min: float = 0.1, beta_max: float = 20.0
) -> DiscreteMarginals:
    """DDPM's marginals, ``alpha_i^2 = prod_{j <= i} (1 - beta_j)`` and ``sigma_i^2 = 1
    - alpha_i^2`` (Ho et al. 2020, eq. 4).
    """
    log_alpha_squared = np.cumsum(
        np.log1p(-ddpm_betas(num_scales, beta_min=beta_min, beta_max=beta_max))
    )
    return DiscreteMarginals(np.exp(0.5 * log_alpha_squared), np.sqrt(-np.expm1(log_alpha_squared)))


def smld_sigmas(
    num_scales: int = 1000, *, sigma_min: float = 0.01, sigma_max: float = 50.0
) -> Float[np.ndarray, " levels"]:
    """The noise levels of SMLD (NCSN): a geometric sequence rising from ``sigma_min``
    to ``sigma_max`` (Song & Ermon 2019, section 4.1).

    The networks count the levels from the greatest: label 0 is ``sigma_max``.

    >>> smld_sigmas(3, sigma_min=0.01, sigma_max=1.0)
    array([0.01, 0.1 , 1.  ])

    Raises:
        ValueError: where there are fewer than two levels, or unless ``0 < sigma_min <
            sigma_max``.
    """
    checks.at_least(2, num_scales=num_scales)
    checks.positive(sigma_min=sigma_min)
    checks.increasing(sigma_min=sigma_min, sigma_max=sigma_max)
    return np.geomspace(sigma_min, sigma_max, num_scales)


@renamed(num_levels="num_scales")
def scheduled_betas(
    schedule: Schedule = "linear",
    num_scales: int = 1000,
    *,
    beta_start: float = 1e-4,
    beta_end: float = 0.02,
) -> Betas:
    """``beta_i``, the variance of the noise that step ``i`` adds, for every level.

    ``linear`` is evenly spaced from ``beta_start`` to ``beta_end`` (Ho et al. 2020,
    section 4). ``scaled_linear`` has evenly spaced square roots (Rombach et al. 2022).
    ``sigmoid`` follows ``1 / (1 + exp(-u))`` for ``u`` from -6 to 6. ``cosine`` has
    ``alpha^2`` proportional to ``cos^2((t + 0.008) / 1.008 pi / 2)`` and no ``beta_i``
    above 0.999 (Nichol & Dhariwal 2021, eq. 17); it ignores ``beta_start`` and
    ``beta_end``.

    >>> scheduled_betas("linear", 3, beta_start=0.1, beta_end=0.3)
    array([0.1, 0.2, 0.3])

    Raises:
        ValueError: where the schedule is unknown, the number of levels is outside 2 to
            100,000, or a ``beta`` is outside (0, 1).
    """
    checks.one_of(SCHEDULES, schedule=schedule)
    checks.between(2, MAX_LEVELS, num_scales=num_scales)
    if schedule == "cosine":
        angles = (np.arange(num_scales + 1) / num_scales + 0.008) / 1.008 * (0.5 * np.pi)
        signal = np.square(np.cos(angles))
        return np.minimum(1.0 - signal[1:] / signal[:-1], 0.999)
    checks.positive(beta_start=beta_start)
    checks.at_least(beta_start, beta_end=beta_end, because="the value of beta_start")
    checks.require(beta_end < 1.0, f"beta_end={beta_end} must be less than 1")
    if schedule == "scaled_linear":
        return np.square(np.linspace(np.sqrt(beta_start), np.sqrt(beta_end), num_scales))
    if schedule == "sigmoid":
        return beta_start + (beta_end - beta_start) / (
            1.0 + np.exp(-np.linspace(-6.0, 6.0, num_scales))
        )
    return np.linspace(beta_start, beta_end, num_scales)


def log_alphas(betas: Betas, *, zero_terminal_snr: bool = False) -> Betas:
    """``log alpha_i`` for every level, with ``alpha_i^2 = prod_{j <= i} (1 - beta_j)``
    (Ho et al. 2020, eq. 4).

    ``zero_terminal_snr`` shifts and scales ``alpha_i`` linearly so that the first stays
    and the last becomes 0, whose logarithm is ``-inf`` (Lin et al. 2024, algorithm 1).
    """
    log_alpha = 0.5 * np.cumsum(np.log1p(-betas))
    if not zero_terminal_snr:
        return log_alpha
    alpha = np.exp(log_alpha)
    with np.errstate(divide="ignore"):
        # Adding the logarithm of the factor keeps the digits of 1 - alpha^2 near the
        # data, where alpha itself is nearly 1.
        factor = (1.0 - alpha[-1] / alpha) / (1.0 - alpha[-1] / alpha[0])
        return log_alpha + np.log(factor)
