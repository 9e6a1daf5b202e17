"""Parameterizations: one score from whatever the network predicts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from oracles import SDES

from score_sde.experiments.tables import PARAMETERIZATIONS
from score_sde.parameterization import (
    DiscreteNoisePrediction,
    DiscreteScorePrediction,
    EDMPreconditioning,
    NoisePrediction,
    ScorePrediction,
    log_noise_to_signal,
    noise_level,
    scaled_time,
)
from score_sde.sdes import VESDE, VPSDE, ddpm_marginals, perturb, smld_sigmas


def edm_output(alpha, sigma, x0, noise, sigma_data=0.5):
    """The output of the preconditioned network whose denoised sample is ``x0`` (Karras et
    al. 2022, eq. 7).
    """
    s = sigma / alpha
    total = s**2 + sigma_data**2
    c_skip, c_out = sigma_data**2 / total, s * sigma_data / np.sqrt(total)
    return (x0 - c_skip * (x0 + s * noise)) / c_out


IDEAL = {
    "noise": lambda alpha, sigma, x0, noise: noise,
    "score": lambda alpha, sigma, x0, noise: -noise / sigma,
    "denoised": lambda alpha, sigma, x0, noise: x0,
    "v": lambda alpha, sigma, x0, noise: (alpha * noise - sigma * x0) / np.hypot(alpha, sigma),
    "edm": edm_output,
    "discrete_score": lambda alpha, sigma, x0, noise: -noise / sigma,
}
"""The output of a perfect network for one known ``x0``; ``flow``, which needs the SDE, is
in `perfect_output`.
"""


def perfect_output(name, sde, t, x0, noise):
    """In the precision of ``t``."""
    if name == "flow":
        _, rates = jax.jvp(sde.marginal, (jnp.asarray(t),), (jnp.ones(()),))
        return rates.alpha * x0 + rates.sigma * noise
    alpha, sigma = (float(value) for value in sde.marginal(t))
    return jnp.asarray(IDEAL[name](alpha, sigma, x0, noise))


values = st.lists(st.floats(-3.0, 3.0), min_size=3, max_size=3).map(np.asarray)


def test_every_parameterization_is_tested_against_its_ideal_output():
    assert set(PARAMETERIZATIONS) == {*IDEAL, "flow", "discrete_noise"}


@pytest.mark.parametrize("sde_name", SDES)
@pytest.mark.parametrize("name", [*IDEAL, "flow"])
@settings(max_examples=5, deadline=None)
@given(x0=values, noise=values, unit=st.floats(0.0, 1.0))
def test_the_score_of_a_perfect_output_is_minus_noise_over_sigma(name, sde_name, x0, noise, unit):
    """And back: the output that such a score needs is the perfect one."""
    sde, parameterization = SDES[sde_name], PARAMETERIZATIONS[name]()
    with jax.enable_x64(True):
        t = sde.t_min + unit * (sde.t_max - sde.t_min)
        sigma = float(sde.marginal(t).sigma)
        output, x = (
            perfect_output(name, sde, t, x0, noise),
            perturb(sde, jnp.asarray(x0), t, jnp.asarray(noise)),
        )
        score = parameterization.score(sde, output, x, t)
        # x_t and alpha x_0 cancel to sigma noise: its rounding error is relative to
        # |x_0| / sigma.
        np.testing.assert_allclose(
            score * sigma, -noise, rtol=1e-9, atol=1e-11 * (1.0 + 1.0 / sigma)
        )
        size = 1.0 + float(jnp.max(jnp.abs(output)))
        back = parameterization.output(sde, parameterization.score(sde, output, x, t), x, t)
        np.testing.assert_allclose(back, output, rtol=1e-8, atol=1e-8 * size)


@pytest.mark.parametrize("sde_name", SDES)
def test_edm_keeps_input_and_target_of_unit_variance_at_every_noise_level(sde_name):
    """Variances in closed form for data of variance ``sigma_data^2``: coefficients of
    ``x0`` and noise, squared.
    """
    sde, sigma_data = SDES[sde_name], 0.3
    edm = EDMPreconditioning(sigma_data=sigma_data)
    for t in np.geomspace(sde.t_min, sde.t_max, 5):
        alpha, sigma = (float(value) for value in sde.marginal(t))
        coefficients = np.array(
            [alpha * sigma_data, sigma]
        )  # x_t of unit x0 / sigma_data, and of unit noise
        fed, _ = edm.network_input(sde, jnp.asarray(coefficients), t)
        np.testing.assert_allclose(np.sum(np.square(fed)), 1.0, rtol=1e-5)
        target = edm_output(
            alpha, sigma, np.array([sigma_data, 0.0]), np.array([0.0, 1.0]), sigma_data
        )
        np.testing.assert_allclose(np.sum(target**2), 1.0, rtol=1e-9)


def test_edm_score_is_accurate_in_float32_at_the_smallest_time():
    """A zero output there gives ``-x / (sigma^2 + alpha^2 sigma_data^2)``, without the
    cancellation of ``D - x``.
    """
    sde, edm, x = VPSDE(), EDMPreconditioning(), jnp.array([0.3, -0.7], jnp.float32)
    with jax.enable_x64(True):
        alpha, sigma = (float(value) for value in sde.marginal(1e-5))
    score = edm.score(sde, jnp.zeros_like(x), x, np.float32(1e-5))
    np.testing.assert_allclose(score, -np.asarray(x) / (sigma**2 + 0.25 * alpha**2), rtol=1e-5)


def test_the_network_is_fed_the_sample_and_its_time_label():
    x = jnp.ones((2, 3))
    fed, label = NoisePrediction().network_input(VPSDE(t_max=2.0), x, 1.0)
    assert fed is x and float(label) == 499.5
    fed, label = ScorePrediction().network_input(VESDE(), x, 1.0)
    assert fed is x
    np.testing.assert_allclose(label, 50.0, rtol=1e-5)


@pytest.mark.parametrize("sde_name", SDES)
def test_time_labels_are_scalars_of_the_noise_level(sde_name):
    sde, t = SDES[sde_name], 0.25
    alpha, sigma = sde.marginal(t)
    np.testing.assert_allclose(scaled_time(sde, t), 999.0 * t / sde.t_max, rtol=1e-6)
    np.testing.assert_allclose(noise_level(sde, t), sigma, rtol=1e-6)
    np.testing.assert_allclose(
        log_noise_to_signal(sde, t), np.log(sigma / alpha) / 4.0, rtol=1e-5, atol=1e-6
    )
    assert all(
        jnp.shape(label(sde, t)) == () for label in (scaled_time, noise_level, log_noise_to_signal)
    )


@pytest.mark.parametrize("name", PARAMETERIZATIONS)
def test_parameterizations_are_hashable_values(name):
    one, two = PARAMETERIZATIONS[name](), PARAMETERIZATIONS[name]()
    assert one == two and hash(one) == hash(two)
    assert one != PARAMETERIZATIONS[name](time_label=lambda sde, t: jnp.asarray(t))


@pytest.mark.parametrize("sigma_data", [0.0, -1.0, float("nan")])
def test_edm_needs_a_positive_spread_of_the_data(sigma_data):
    with pytest.raises(
        ValueError,
        match="must be positive and finite, since it is the standard deviation of the data",
    ):
        EDMPreconditioning(sigma_data=sigma_data)


@pytest.mark.parametrize("t", [0.11, 0.83, 1.0])
def test_discrete_noise_is_divided_by_the_sigma_of_the_level_below(t):
    """The label is real, the index whole; between two levels ``interpolate`` takes the
    table linearly.
    """
    sde, noise, x = VPSDE(), jnp.array([0.3, -2.0]), jnp.zeros(2)
    sigma, label = ddpm_marginals(1000).sigma, 999.0 * t
    fed, label_given = DiscreteNoisePrediction().network_input(sde, x, t)
    assert fed is x
    np.testing.assert_allclose(label_given, label, rtol=1e-6)
    floor = int(np.floor(np.float32(label)))
    np.testing.assert_allclose(
        DiscreteNoisePrediction().score(sde, noise, x, t), -noise / sigma[floor], rtol=1e-6
    )
    between = np.interp(label, np.arange(1000), sigma)
    smooth = DiscreteNoisePrediction(interpolate=True).score(sde, noise, x, t)
    np.testing.assert_allclose(smooth, -noise / between, rtol=1e-5)


def test_discrete_noise_prediction_tends_to_the_continuous_one_for_many_levels():
    """``prod (1 - beta_i)`` against ``exp(-int beta)``: the sigmas agree to the order
    of one level.
    """
    sde, noise = VPSDE(), jnp.ones(3)
    for num_scales in (100, 1000):
        discrete = DiscreteNoisePrediction(num_scales=num_scales, interpolate=True)
        ratio = discrete.score(sde, noise, noise, 0.5) / NoisePrediction().score(
            sde, noise, noise, 0.5
        )
        np.testing.assert_allclose(ratio, 1.0, atol=2.0 / num_scales)


def test_discrete_levels_of_ve_are_counted_from_the_greatest_noise():
    sde, discrete = VESDE(), DiscreteScorePrediction(num_scales=10)
    sigmas = smld_sigmas(10)[::-1]
    for level in range(10):
        t = 1.0 - level / 9.0
        _, label = discrete.network_input(sde, jnp.zeros(2), t)
        assert float(label) == level
        np.testing.assert_allclose(sde.marginal(t).sigma, sigmas[level], rtol=1e-4)


def test_discrete_models_need_levels():
    with pytest.raises(ValueError, match="num_scales=1 must be at least 2"):
        DiscreteScorePrediction(num_scales=1)
    with pytest.raises(ValueError, match="num_scales=1 must be at least 2"):
        DiscreteNoisePrediction(num_scales=1)


def test_the_time_of_a_level_is_that_level_in_float32():
    """``t_i = i / 999`` may be rounded down, and the label is still a whole number."""
    parameterization, sigmas = DiscreteNoisePrediction(), ddpm_marginals().sigma
    times = jnp.arange(1000, dtype=jnp.float32) * np.float32(1.0 / 999.0)
    score = jax.vmap(lambda t: parameterization.score(VPSDE(), jnp.ones(1), jnp.zeros(1), t))(times)
    np.testing.assert_allclose(-1.0 / score[:, 0], sigmas, rtol=1e-6)
