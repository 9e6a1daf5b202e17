"""The noise tables of the discrete-time models, of which the SDEs are the limit for many levels.

Computed in float64 by NumPy once, when a model is built (Song et al. 2021, section 3
and appendix C).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class DiscreteMarginals(NamedTuple):
    """``p(x_i | x_0) = N(alpha_i x_0, sigma_i^2 I)`` of every level ``i``, from the
    least noise to the most.
    """

    alpha: Float[np.ndarray, " levels"]
    sigma: Float[np.ndarray, " levels"]


def ddpm_betas(
    num_scales: int = 1000, *, beta_min: float = 0.1, beta_max: float = 20.0
) -> Float[np.ndarray, " levels"]:
    """DDPM's ``beta_i``: ``num_scales`` numbers from ``beta_min / num_scales`` to
    ``beta_max / num_scales``, evenly.

    With 1,000 levels, 0.0001 to 0.02 (Ho et al. 2020, section 4).

    >>> ddpm_betas(1000)[[0, -1]]
    array([0.0001, 0.02  ])

    Raises:
        ValueError: a number of levels below 2, or a ``beta_i`` outside (0, 1).
    """
    _check_levels(num_scales)
    if not 0.0 < beta_min <= beta_max < num_scales:
        raise ValueError(
            f"0 < beta_min <= beta_max < num_scales must hold, got {beta_min}, {beta_max}, "
            f"{num_scales}"
        )
    return np.linspace(beta_min / num_scales, beta_max / num_scales, num_scales)


def ddpm_marginals(
    num_scales: int = 1000, *, beta_min: float = 0.1, beta_max: float = 20.0
) -> DiscreteMarginals:
    """DDPM's marginals, ``alpha_i^2 = prod_{j <= i} (1 - beta_j)`` and ``sigma_i^2 = 1
    - alpha_i^2``.

    Ho et al. 2020, equation 4.
    """
    log_alpha_squared = np.cumsum(
        np.log1p(-ddpm_betas(num_scales, beta_min=beta_min, beta_max=beta_max))
    )
    return DiscreteMarginals(np.exp(0.5 * log_alpha_squared), np.sqrt(-np.expm1(log_alpha_squared)))


def smld_sigmas(
    num_scales: int = 1000, *, sigma_min: float = 0.01, sigma_max: float = 50.0
) -> Float[np.ndarray, " levels"]:
    """The noise levels of SMLD (NCSN): a geometric sequence rising from ``sigma_min``
    to ``sigma_max``.

    Song and Ermon 2019, section 4.2. The networks count them from the greatest: their
    label 0 is ``sigma_max``.

    Raises:
        ValueError: a number of levels below 2, or unless ``0 < sigma_min < sigma_max``.
    """
    _check_levels(num_scales)
    if not 0.0 < sigma_min < sigma_max:
        raise ValueError(f"0 < sigma_min < sigma_max must hold, got {sigma_min}, {sigma_max}")
    return np.geomspace(sigma_min, sigma_max, num_scales)


def _check_levels(num_scales: int) -> None:
    if num_scales < 2:
        raise ValueError(f"num_scales={num_scales} must be at least 2")
