"""Which scales of data an SDE suits: the warning is for those alone that it does not."""

import numpy as np
import pytest

from score_sde import EDMSDE, VESDE, VPSDE, CosineSDE, RectifiedFlowSDE, SubVPSDE
from score_sde.sdes.data_scale import MOST_DIVERGENCE, MOST_NOISE, MOST_SIZE, scale_mismatch

SDES = [
    VPSDE(),
    SubVPSDE(),
    VESDE(),
    VESDE(sigma_max=8.0),
    EDMSDE(),
    CosineSDE(),
    RectifiedFlowSDE(),
]
UNIT = [(0.0, 1.0), (0.0, 0.5), (0.5, 0.25), (-1.0, 1.5), (1.0, 1.0)]


@pytest.mark.parametrize("sde", SDES, ids=str)
def test_data_of_about_unit_scale_suit_every_sde(sde):
    for mean, std in UNIT:
        if (sde.prior_std(), mean) != (8.0, 1.0):
            assert scale_mismatch(sde, np.array([0.0, mean]), np.array([1.0, std])) is None


@pytest.mark.parametrize("sde", SDES, ids=str)
@pytest.mark.parametrize(
    "column", [(50000.0, 12000.0), (0.001, 1e-4), (0.0, 1e3), (1e3, 1.0), (0.0, 0.0)]
)
def test_a_column_that_is_far_off_is_named(sde, column):
    mean, std = np.transpose([(0.0, 1.0), column])
    found = scale_mismatch(sde, mean, std)
    assert found is not None and found.startswith(
        f"column 1 has mean {column[0]:.4g} and standard deviation {column[1]:.4g}, but "
    )


def kl(sde, mean, std):
    """By quadrature, in nats: the marginal at ``t_max`` against the prior."""
    alpha, sigma = (float(value) for value in sde.marginal(sde.t_max))
    centre, spread = alpha * mean, np.hypot(alpha * std, sigma)
    z = np.linspace(-12, 12, 20001)
    log_p = -0.5 * z**2 - np.log(spread)
    log_q = -0.5 * ((centre + spread * z) / sde.prior_std()) ** 2 - np.log(sde.prior_std())
    return np.trapezoid(np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi) * (log_p - log_q), z)


def test_the_limit_of_the_prior_is_one_of_divergence():
    sde = VESDE(sigma_max=8.0)
    for mean, std in [(1.0, 1.0), (1.3, 1.0), (0.0, 3.0), (0.0, 4.0)]:
        assert (scale_mismatch(sde, np.array([mean]), np.array([std])) is not None) == (
            kl(sde, mean, std) > MOST_DIVERGENCE
        )


def test_the_limits_of_size_and_noise():
    sde = VPSDE()
    for size, fits in [(0.99 * MOST_SIZE, True), (1.01 * MOST_SIZE, False)]:
        assert (scale_mismatch(sde, np.zeros(1), np.array([size])) is None) == fits
    alpha, sigma = (float(value) for value in sde.marginal(sde.t_min))
    for factor, fits in [(1.01, True), (0.99, False)]:
        std = np.array([factor * sigma / alpha / MOST_NOISE])
        assert (scale_mismatch(sde, np.zeros(1), std) is None) == fits
