"""Every SDE: its marginal, drift and diffusion are one process, accurate in float32
where it is hard.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from oracles import SDE_OPTIONS, SDES
from scipy import stats

from score_sde.experiments import tables
from score_sde.sdes import (
    EDMSDE,
    SDE,
    VESDE,
    VPSDE,
    BrownianMotion,
    CosineSDE,
    Marginal,
    RectifiedFlowSDE,
    SubVPSDE,
    perturb,
    prior_log_prob,
    prior_sample,
)

UNIT = st.floats(0.0, 1.0)
BETAS = st.builds(
    lambda low, span: {"beta_min": low, "beta_max": low + span},
    st.floats(0.01, 2.0),
    st.floats(0.0, 30.0),
)
PARAMETERS = {
    "vp": BETAS,
    "subvp": BETAS,
    "ve": st.builds(
        lambda low, ratio: {"sigma_min": low, "sigma_max": low * ratio},
        st.floats(1e-3, 1.0),
        st.floats(1.5, 1e4),
    ),
    "edm": st.builds(lambda sigma_max: {"sigma_max": sigma_max}, st.floats(1.0, 1e3)),
    "cosine": st.builds(lambda shift: {"log_snr_shift": shift}, st.floats(-3.0, 1.0)),
    "brownian": st.builds(lambda scale: {"scale": scale}, st.floats(1e-2, 1e2)),
}
"""Any parameters of the SDEs of the table; the defaults for one that is not here."""

each_sde = pytest.mark.parametrize("name", SDES)


def built(data, name):
    return tables.SDES[name](**data.draw(PARAMETERS.get(name, st.just({}))))


def between(sde, unit):
    """A time of the SDE, near ``t_min`` as often as not."""
    return sde.t_min * (sde.t_max / sde.t_min) ** unit


@each_sde
@settings(max_examples=8, deadline=None)
@given(data=st.data(), unit=UNIT)
def test_drift_and_diffusion_are_the_derivatives_of_the_marginal(name, data, unit):
    """``f = x dlog(alpha)/dt`` and ``g^2 = dsigma^2/dt - 2 sigma^2 dlog(alpha)/dt``."""
    sde = built(data, name)
    with jax.enable_x64(True):
        t = jnp.asarray(between(sde, unit))
        rate = jax.grad(lambda t: jnp.log(sde.marginal(t).alpha))(t)
        growth = jax.grad(lambda t: jnp.square(sde.marginal(t).sigma))(t)
        x = jnp.array([[1.0, -2.0], [0.5, 3.0]])
        np.testing.assert_allclose(sde.drift(x, t), rate * x, rtol=1e-10, atol=1e-14)
        variance = jnp.square(sde.marginal(t).sigma)
        np.testing.assert_allclose(
            jnp.square(sde.diffusion(t)), growth - 2.0 * variance * rate, rtol=1e-7
        )


@each_sde
@settings(max_examples=8, deadline=None)
@given(data=st.data(), unit=UNIT)
def test_float32_agrees_with_float64_down_to_the_smallest_times(name, data, unit):
    sde = dataclasses.replace(built(data, name), t_min=1e-5)
    t = np.float32(between(sde, unit))
    with jax.enable_x64(True):
        exact = [
            float(value)
            for value in (*sde.marginal(float(t)), sde.diffusion(float(t)), sde.log_snr(float(t)))
        ]
    single = [*sde.marginal(t), sde.diffusion(t), sde.log_snr(t)]
    # The relative error of exp(x) is the absolute error of x, up to |x| eps; x reaches
    # 14 here.
    np.testing.assert_allclose(single, exact, rtol=4e-6, atol=4e-6 * exact[1])
    assert all(np.asarray(value).dtype == np.float32 for value in single)


@pytest.mark.parametrize("t", [1e-5, 1e-4, 1e-2, 1.0])
def test_sigma_is_exact_where_one_minus_exp_is_not(t):
    """Against the exact integral in float64: at ``t = 1e-5`` the naive float32 form is
    2.4 % (sub-VP 4.7 %) off.
    """
    integral = 0.1 * t + 0.5 * 19.9 * t**2
    variance = -np.expm1(-integral)
    np.testing.assert_allclose(VPSDE().marginal(np.float32(t)).sigma, np.sqrt(variance), rtol=1e-6)
    np.testing.assert_allclose(SubVPSDE().marginal(np.float32(t)).sigma, variance, rtol=1e-6)
    np.testing.assert_allclose(
        SubVPSDE().diffusion(np.float32(t)),
        np.sqrt(-(0.1 + 19.9 * t) * np.expm1(-2.0 * integral)),
        rtol=1e-6,
    )
    np.testing.assert_allclose(VESDE().marginal(np.float32(t)).sigma, 0.01 * 5000.0**t, rtol=1e-6)
    np.testing.assert_allclose(
        BrownianMotion(scale=3.0).marginal(np.float32(t)).sigma, 3.0 * np.sqrt(t), rtol=1e-6
    )


@settings(max_examples=8, deadline=None)
@given(betas=BETAS, unit=UNIT)
def test_sub_vp_never_has_more_variance_than_vp(betas, unit):
    vp, subvp = VPSDE(**betas), SubVPSDE(**betas)
    t = between(vp, unit)
    assert float(subvp.marginal(t).alpha) == float(vp.marginal(t).alpha)
    assert float(subvp.marginal(t).sigma) <= float(vp.marginal(t).sigma) <= 1.0
    with jax.enable_x64(True):
        np.testing.assert_allclose(
            sum(jnp.square(part) for part in vp.marginal(t)), 1.0, rtol=1e-14
        )


@each_sde
@settings(max_examples=8, deadline=None)
@given(data=st.data(), units=st.lists(UNIT, min_size=3, max_size=3))
def test_transitions_compose(name, data, units):
    """From ``s`` to ``u`` through ``t``, and from the data through ``s``: one Gaussian
    after another.
    """
    sde = built(data, name)
    with jax.enable_x64(True):
        s, t, u = sorted(between(sde, unit) for unit in units)

        def after(first: Marginal, second: Marginal) -> tuple[float, float]:
            return float(first.alpha * second.alpha), float(
                jnp.hypot(second.alpha * first.sigma, second.sigma)
            )

        size = float(sde.marginal(u).sigma)
        np.testing.assert_allclose(
            after(sde.transition(s, t), sde.transition(t, u)),
            sde.transition(s, u),
            rtol=1e-9,
            atol=1e-6 * size,
        )
        np.testing.assert_allclose(
            after(sde.marginal(s), sde.transition(s, t)), sde.marginal(t), rtol=1e-9
        )
        alpha, sigma = sde.transition(t, t)
        assert (float(alpha), float(sigma)) == (1.0, 0.0)


@each_sde
def test_transition_over_a_short_time_is_a_step_of_the_sde(name):
    sde, t, dt = SDES[name], 0.4, 1e-6
    with jax.enable_x64(True):
        alpha, sigma = sde.transition(t, t + dt)
        np.testing.assert_allclose(
            (alpha - 1.0) / dt, sde.drift(jnp.ones(()), t), rtol=1e-4, atol=1e-8
        )
        np.testing.assert_allclose(sigma**2 / dt, sde.diffusion(t) ** 2, rtol=1e-4)


@each_sde
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_prior_approximates_the_marginal_at_t_max(name, data):
    sde = built(data, name)
    assert isinstance(sde.prior_std(), float)
    alpha, sigma = (float(value) for value in sde.marginal(sde.t_max))
    # What the prior is wrong by is the signal that is left at t_max; it is neglected
    # where it is never scaled down.
    assert abs(sde.prior_std() - sigma) <= sde.prior_std() * (
        1e-5 + (alpha**2 if alpha < 1.0 else 0.0)
    )


@each_sde
def test_prior_sample_and_density_are_the_same_normal(name):
    """A Kolmogorov-Smirnov test of 30,000 numbers: fails for 1 key in 1,000; the key is fixed."""
    sde = SDES[name]
    x = prior_sample(jax.random.key(0), sde, (3, 10_000))
    assert x.shape == (3, 10_000) and x.dtype == jnp.float32
    assert stats.kstest(np.ravel(x) / sde.prior_std(), "norm").pvalue > 1e-3
    part = x[:, :4]
    expected = stats.norm.logpdf(np.asarray(part, np.float64), scale=sde.prior_std()).sum()
    np.testing.assert_allclose(prior_log_prob(sde, part), expected, rtol=1e-6)


@each_sde
def test_perturb_scales_the_data_and_adds_the_noise(name):
    sde = SDES[name]
    x0, noise = jnp.array([1.0, -2.0]), jnp.array([0.5, 3.0])
    alpha, sigma = sde.marginal(0.3)
    np.testing.assert_allclose(perturb(sde, x0, 0.3, noise), alpha * x0 + sigma * noise, rtol=1e-6)
    assert perturb(sde, jnp.zeros((2, 3, 4)), 0.3, jnp.ones((2, 3, 4))).shape == (2, 3, 4)


@each_sde
def test_log_snr_falls_from_data_to_noise(name):
    sde = SDES[name]
    values = [float(sde.log_snr(t)) for t in np.geomspace(sde.t_min, sde.t_max, 20)]
    assert all(np.diff(values) < 0.0)
    alpha, sigma = sde.marginal(0.3)
    np.testing.assert_allclose(sde.log_snr(0.3), np.log(alpha**2 / sigma**2), rtol=1e-5, atol=1e-5)


@each_sde
@settings(max_examples=8, deadline=None)
@given(data=st.data(), unit=UNIT)
def test_a_time_is_found_by_its_signal_to_noise_ratio(name, data, unit):
    """By the closed form, and by the bisection that an SDE without one has."""
    sde = built(data, name)
    with jax.enable_x64(True):
        t = jnp.asarray(between(sde, unit))
        np.testing.assert_allclose(sde.time_at(sde.log_snr(t)), t, rtol=1e-8)
        np.testing.assert_allclose(SDE.time_at(sde, sde.log_snr(t)), t, rtol=1e-8)
    t = np.float32(t)
    np.testing.assert_allclose(sde.time_at(sde.log_snr(t)), t, rtol=2e-5, atol=1e-6)


@each_sde
def test_the_falling_ratio_is_the_rate_of_the_noise(name):
    """``g^2 / sigma^2 = -d log_snr / dt``, on which importance sampling rests."""
    sde = SDES[name]
    with jax.enable_x64(True):
        for t in np.geomspace(sde.t_min, sde.t_max, 5):
            rate = jnp.square(sde.diffusion(t) / sde.marginal(t).sigma)
            np.testing.assert_allclose(-jax.grad(sde.log_snr)(t), rate, rtol=1e-7)


@each_sde
def test_equal_parameters_make_equal_hashable_values(name):
    options = SDE_OPTIONS.get(name, {})
    one, two = tables.SDES[name](**options), tables.SDES[name](**options)
    assert one == two and hash(one) == hash(two) and one is not two
    assert one != dataclasses.replace(one, t_min=2e-4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.t_min = 0.1
    with pytest.raises(TypeError):
        tables.SDES[name](0.1)


def test_the_smallest_times_are_those_of_the_reference():
    assert (VPSDE().t_min, SubVPSDE().t_min, VESDE().t_min) == (1e-3, 1e-3, 1e-5)


@each_sde
@pytest.mark.parametrize(
    ("times", "message"),
    [
        ({"t_min": 0.0}, r"^t_min=0\.0 must be positive"),
        ({"t_min": -1.0}, r"^t_min=-1\.0 must be positive"),
        ({"t_min": 1.0}, r"^t_min=1\.0 must be less than t_max="),
        ({"t_min": 0.2, "t_max": 0.1}, r"^t_min=0\.2 must be less than t_max=0\.1$"),
    ],
)
def test_times_out_of_order_are_refused_in_one_line(name, times, message):
    with pytest.raises(ValueError, match=message) as error:
        tables.SDES[name](**times)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (VPSDE, {"beta_min": 0.0}, "beta_min=0.0 must be positive"),
        (
            SubVPSDE,
            {"beta_min": 2.0, "beta_max": 1.0},
            "beta_max=1.0 must be at least 2, the value of beta_min",
        ),
        (VESDE, {"sigma_min": 0.0}, "sigma_min=0.0 must be positive"),
        (VESDE, {"sigma_min": 60.0}, "sigma_min=60.0 must be less than sigma_max=50.0"),
        (VESDE, {"sigma_max": float("nan")}, "sigma_max=nan"),
        (EDMSDE, {"sigma_max": -1.0}, "sigma_max=-1.0 must be positive"),
        (RectifiedFlowSDE, {"t_max": 1.0}, "t_max=1.0 must be less than 1"),
        (CosineSDE, {"t_max": 1.5}, "t_max=1.5 must be less than 1"),
        (CosineSDE, {"log_snr_shift": float("inf")}, "log_snr_shift=inf must be finite"),
        (BrownianMotion, {"scale": 0.0}, "scale=0.0 must be positive"),
        (BrownianMotion, {"t_max": float("nan")}, "t_max=nan"),
    ],
)
def test_parameters_out_of_range_are_refused_in_one_line(make, arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        make(**arguments)
    assert "\n" not in str(error.value)
