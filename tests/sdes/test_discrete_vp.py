"""The SDE through the levels of a discrete model: exactly their marginals, and one
process between them.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import slow_but

from score_sde.parameterization import (
    DenoisedPrediction,
    EDMPreconditioning,
    NoisePrediction,
    ScorePrediction,
    StepIndex,
    VelocityPrediction,
)
from score_sde.sdes import VPSDE, DiscreteVPSDE, perturb, scheduled_betas
from score_sde.solvers import marginals_at

SCHEDULES = {
    "linear": {},
    "scaled_linear": {"beta_start": 0.00085, "beta_end": 0.012},
    "cosine": {"num_scales": 60},
    "sigmoid": {"num_scales": 300},
}


def made(schedule, **options):
    options = {**SCHEDULES[schedule], **options}
    levels = options.get("num_scales", 1000)
    return DiscreteVPSDE(schedule=schedule, **{"t_min": 1 / levels, **options})


@pytest.mark.parametrize("schedule", slow_but(SCHEDULES, "linear", "cosine"))
def test_levels_have_the_products_of_the_steps(schedule):
    sde = made(schedule)
    times = sde.step_times()
    betas = scheduled_betas(
        schedule, sde.num_scales, beta_start=sde.beta_start, beta_end=sde.beta_end
    )
    np.testing.assert_allclose(times, np.arange(1, sde.num_scales + 1) / sde.num_scales)
    levels = marginals_at(sde, times)
    np.testing.assert_allclose(levels.alpha**2, np.cumprod(1.0 - betas), rtol=1e-10)
    np.testing.assert_allclose(levels.sigma**2, 1.0 - np.cumprod(1.0 - betas), rtol=1e-9)
    single = jax.jit(jax.vmap(sde.marginal))(jnp.asarray(times, jnp.float32))
    np.testing.assert_allclose(single.alpha, levels.alpha, rtol=3e-6)
    np.testing.assert_allclose(single.sigma, levels.sigma, rtol=3e-6)


def test_schedules_are_those_of_the_papers():
    np.testing.assert_allclose(scheduled_betas()[[0, -1]], [1e-4, 0.02])
    np.testing.assert_allclose(
        scheduled_betas("scaled_linear", 3, beta_start=0.01, beta_end=0.09), [0.01, 0.04, 0.09]
    )
    np.testing.assert_allclose(scheduled_betas("sigmoid", 3, beta_start=0.1, beta_end=0.3)[1], 0.2)
    signal = np.cumprod(1.0 - scheduled_betas("cosine", 100))
    exact = (
        np.cos((np.arange(1, 100) / 100 + 0.008) / 1.008 * np.pi / 2) ** 2
        / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    )
    np.testing.assert_allclose(signal[:-1], exact, rtol=1e-12)
    assert scheduled_betas("cosine", 100)[-1] == 0.999


@pytest.mark.parametrize("zero", [False, True])
def test_between_levels_the_noise_rises_without_a_jump(zero):
    sde = made("cosine", zero_terminal_snr=zero, t_max=59 / 60 if zero else 1.0)
    times = np.linspace(1e-6, sde.t_max, 4001)
    ratio, rate = (
        marginals_at(sde, times).ratio,
        np.asarray(jax.vmap(sde.beta)(jnp.asarray(times, jnp.float32))),
    )
    assert (np.diff(ratio) > 0.0).all() and (rate > 0.0).all()
    steps = scheduled_betas("cosine", 60)[: 59 if zero else 60]
    assert (
        np.abs(np.diff(rate)).max() < 0.2 * rate.max()
        and rate.max() < -60 * 3.0 * np.log1p(-steps.max()) + 1e3
    )


def test_without_terminal_signal_the_last_level_is_noise_alone():
    """Lin et al. 2024, algorithm 1: ``alpha`` shifted and scaled so that it begins as
    before and ends at 0.
    """
    plain, zero = made("linear"), made("linear", zero_terminal_snr=True, t_max=0.999)
    before, after = (marginals_at(sde, sde.step_times()) for sde in (plain, zero))
    wanted = (
        (before.alpha - before.alpha[-1]) * before.alpha[0] / (before.alpha[0] - before.alpha[-1])
    )
    np.testing.assert_allclose(after.alpha, wanted, rtol=1e-9, atol=1e-15)
    assert after.alpha[-1] == 0.0 and after.sigma[-1] == 1.0 and len(after.alpha) == 1000
    assert float(zero.marginal(1.0).alpha) == 0.0 and np.isfinite(zero.diffusion(0.999))
    assert len(replace(zero, t_max=0.5).step_times()) == 500


def test_many_levels_approach_the_continuous_sde():
    sde, vp = (
        made("linear", num_scales=20_000, beta_start=0.1 / 20_000, beta_end=20.0 / 20_000),
        VPSDE(),
    )
    for t in (0.01, 0.3, 1.0):
        np.testing.assert_allclose(sde.marginal(t), vp.marginal(t), rtol=3e-3)
        np.testing.assert_allclose(sde.diffusion(t), vp.diffusion(t), rtol=3e-3)


@pytest.mark.parametrize("levels", [2, 60, 1000, 4321])
def test_the_label_of_a_level_is_its_index(levels):
    label, times = StepIndex(num_scales=levels), np.arange(1, levels + 1) / levels
    found = jax.vmap(lambda t: label(VPSDE(), t))(jnp.asarray(times, jnp.float32))
    np.testing.assert_array_equal(found, np.arange(levels))
    assert float(label(VPSDE(), 0.25 / levels)) == 0.0
    np.testing.assert_allclose(label(VPSDE(), 1.5 / levels), 0.5, rtol=1e-5)


@pytest.mark.parametrize("parameterization", [
    NoisePrediction(), ScorePrediction(), DenoisedPrediction(), VelocityPrediction(),
    EDMPreconditioning()
])  # fmt: skip
def test_the_denoised_image_of_the_right_output_is_the_image(parameterization):
    """For one known ``x_0`` the marginal is ``N(alpha x_0, sigma^2 I)``."""
    sde, x0, noise = made("linear"), jnp.array([0.5, -0.8]), jnp.array([1.2, -0.3])
    for t in (0.1, 0.6):
        x, sigma = perturb(sde, x0, t, noise), sde.marginal(t).sigma
        output = parameterization.output(sde, -noise / sigma, x, t)
        np.testing.assert_allclose(parameterization.denoised(sde, output, x, t), x0, rtol=1e-3)


def test_the_index_of_a_level_takes_times_of_any_type():
    found = [StepIndex()(DiscreteVPSDE(), t) for t in (1, np.int64(1), jnp.bfloat16(0.5), 0.5)]
    assert found == [999, 999, 499, 499] and all(index.dtype == jnp.float32 for index in found)


def test_v_and_the_image_say_what_pure_noise_hides():
    sde, x0, noise = (
        made("linear", zero_terminal_snr=True, t_max=0.999),
        jnp.array([0.5, -0.8]),
        jnp.array([1.2, -0.3]),
    )
    np.testing.assert_allclose(VelocityPrediction().denoised(sde, -x0, noise, 1.0), x0)
    np.testing.assert_allclose(DenoisedPrediction().denoised(sde, x0, noise, 1.0), x0)


@pytest.mark.parametrize(("options", "message"), [
    ({"num_scales": 1}, "num_scales=1 must be from 2 to 100000"),
    ({"num_scales": 10**9}, "num_scales=1000000000 must be from 2 to 100000"),
    ({"beta_end": 1.0}, "beta_end=1.0 must be less than 1"),
    ({"zero_terminal_snr": True}, "t_max=1.0 must be at most 0.999, since the last level has no "
"signal"),
    ({"t_max": 1.5}, "t_max=1.5 must be at most 1"),
    ({"betas": (0.1, 0.2)}, "betas has 2 numbers and must have num_scales=1000"),
    ({"betas": (0.1, 1.0), "num_scales": 2}, "betas must lie between 0 and 1"),
])  # fmt: skip
def test_impossible_tables_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DiscreteVPSDE(**options)
    with pytest.raises(ValueError, match="num_scales=10 of the time label must be 1000"):
        StepIndex(num_scales=10)(DiscreteVPSDE(), 0.5)
