"""The noise tables of the discrete-time models."""

import numpy as np
import pytest

from score_sde.sdes import VESDE, ddpm_betas, ddpm_marginals, smld_sigmas


def test_ddpm_betas_are_those_of_the_paper():
    betas = ddpm_betas()
    assert betas.shape == (1000,) and betas.dtype == np.float64
    np.testing.assert_allclose(betas[[0, 1, -1]], [1e-4, 1e-4 + 0.0199 / 999, 0.02])


def test_ddpm_marginals_are_products_of_the_steps():
    betas, (alpha, sigma) = ddpm_betas(50), ddpm_marginals(50)
    np.testing.assert_allclose(alpha**2, np.cumprod(1.0 - betas))
    np.testing.assert_allclose(alpha**2 + sigma**2, 1.0)
    np.testing.assert_allclose(sigma[0] ** 2, betas[0])


def test_smld_sigmas_are_the_continuous_ones_at_even_times():
    sde = VESDE()
    np.testing.assert_allclose(
        smld_sigmas(11),
        [float(sde.marginal(t).sigma) for t in np.linspace(0.0, 1.0, 11)],
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ddpm_betas(1), "num_scales=1 must be at least 2"),
        (lambda: ddpm_betas(10), "beta_max=20.0 must be less than num_scales=10"),
        (lambda: ddpm_betas(beta_min=0.0), "beta_min=0.0 must be positive"),
        (lambda: smld_sigmas(1), "num_scales=1 must be at least 2"),
        (
            lambda: smld_sigmas(sigma_min=1.0, sigma_max=0.5),
            "sigma_min=1.0 must be less than sigma_max=0.5",
        ),
    ],
)
def test_impossible_tables_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
