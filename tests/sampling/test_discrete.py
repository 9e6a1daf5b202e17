"""The samplers of discrete models: the levels they visit, and Gaussians in closed form."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import SLOW

from score_sde.experiments.tables import PARAMETERIZATIONS
from score_sde.models import ScoreNetwork, make_score_fn
from score_sde.parameterization import VelocityPrediction
from score_sde.sampling import DiscreteDDIM, DiscreteDDPM, StaticThreshold, thresholded
from score_sde.sdes import VESDE, DiscreteVPSDE
from score_sde.solvers import marginals_at

SDE = DiscreteVPSDE(schedule="cosine", num_scales=40, t_min=1 / 40)
STD = 0.4
LATENT = jnp.array([0.7, -1.4])


def score(x, t):
    """The score of data from N(0, STD^2)."""
    alpha, sigma = SDE.marginal(t)
    return -x / (jnp.square(alpha * STD) + jnp.square(sigma))


@pytest.mark.parametrize(("sampler", "num_scales", "wanted"), [
    (DiscreteDDIM(num_steps=4, spacing="leading"), 1000, [750, 500, 250, 0]),
    (DiscreteDDIM(num_steps=4, spacing="leading", steps_offset=1), 1000, [751, 501, 251, 1]),
    (DiscreteDDIM(num_steps=3, spacing="leading"), 1000, [666, 333, 0]),
    (DiscreteDDIM(num_steps=4, spacing="trailing"), 1000, [999, 749, 499, 249]),
    (DiscreteDDIM(num_steps=3, spacing="trailing"), 1000, [999, 666, 332]),
    (DiscreteDDIM(num_steps=4, spacing="linspace"), 1000, [999, 666, 333, 0]),
    (DiscreteDDIM(num_steps=1, spacing="linspace"), 1000, [0]),
    (DiscreteDDPM(num_steps=5, spacing="trailing"), 5, [4, 3, 2, 1, 0]),
])  # fmt: skip
def test_spacings_visit_the_levels_of_lin_et_al(sampler, num_scales, wanted):
    """Lin et al. 2024, table 2, as diffusers rounds it."""
    assert sampler.step_indices(num_scales).tolist() == wanted


def test_ddim_on_gaussian_data_follows_its_closed_recursion():
    """``D = alpha STD^2 x / v`` and ``eps = sigma x / v`` with ``v = alpha^2 STD^2 + sigma^2``."""
    sampler = DiscreteDDIM(num_steps=8, spacing="leading", clip=0.25)
    _, start, stop = sampler.levels(SDE)
    x = np.asarray(LATENT, np.float64)
    for alpha, sigma, alpha_next, sigma_next in zip(*start, *stop, strict=True):
        v = alpha**2 * STD**2 + sigma**2
        x = alpha_next * np.clip(alpha * STD**2 * x / v, -0.25, 0.25) + sigma_next * sigma * x / v
    found = jax.jit(lambda: sampler.solve(None, SDE, score, LATENT, save_path=9))()
    np.testing.assert_allclose(found.x, x, rtol=1e-5)
    assert int(found.nfe) == 8 and found.path.shape == (9, 2)
    np.testing.assert_array_equal(found.path[0], LATENT)
    assert np.abs(found.x).max() <= 0.25


@pytest.mark.parametrize(("sampler", "noisy"), [
    (DiscreteDDPM(num_steps=40), True),
    pytest.param(DiscreteDDPM(num_steps=40, variance="fixed_large"), True, marks=SLOW),
    pytest.param(DiscreteDDIM(num_steps=40, eta=1.0), True, marks=SLOW),
    (DiscreteDDIM(num_steps=40, eta=0.5, final="t_min"), True),
    pytest.param(DiscreteDDIM(num_steps=40, final="t_min"), False, marks=SLOW),
])  # fmt: skip
def test_the_variance_on_gaussian_data_follows_its_closed_recursion(sampler, noisy):
    """Moments of 20,000 draws from a latent of the prior against the variance of the
    linear recursion; 5 errors.
    """
    _, start, stop = sampler.levels(SDE)
    image, noise, state, std = sampler.steps(start, stop)
    v = start.alpha**2 * STD**2 + start.sigma**2
    factors, variance = state + (image * start.alpha * STD**2 + noise * start.sigma) / v, 1.0
    for factor, added in zip(factors, std, strict=True):
        variance = factor**2 * variance + added**2
    assert noisy == bool(std.any())
    latent = jax.random.normal(jax.random.key(1), (20_000,))
    x = np.asarray(jax.jit(lambda key: sampler.solve(key, SDE, score, latent).x)(jax.random.key(2)))
    assert abs(x.var() / variance - 1.0) < 5.0 * np.sqrt(2.0 / 20_000)
    end = marginals_at(SDE, np.array(SDE.t_min)).alpha if not sampler.ends_at_data else 1.0
    assert 0.6 * STD < np.sqrt(variance) / end < 1.4 * STD


def test_ddim_with_the_noise_of_ddpm_is_ddpm():
    found = [
        s.steps(*s.levels(SDE)[1:])
        for s in (DiscreteDDIM(num_steps=10, eta=1.0), DiscreteDDPM(num_steps=10))
    ]
    (image, noise, _, std), (image_ddpm, _, state, std_ddpm) = found
    start = DiscreteDDPM(num_steps=10).levels(SDE)[1]
    np.testing.assert_allclose(std, std_ddpm, atol=1e-12)
    # In D and eps, with x = alpha D + sigma eps.
    np.testing.assert_allclose(image, image_ddpm + state * start.alpha, rtol=1e-9)
    np.testing.assert_allclose(noise, state * start.sigma, rtol=1e-6, atol=1e-9)


def test_a_level_without_signal_needs_a_denoised_image():
    sde = replace(SDE, zero_terminal_snr=True, t_max=39 / 40)
    with pytest.raises(
        ValueError, match="the last level has no signal, so that its score says nothing"
    ) as refusal:
        DiscreteDDIM(num_steps=4).solve(None, sde, score, LATENT)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", PARAMETERIZATIONS)
def test_a_level_without_signal_refuses_networks_that_predict_noise_or_score(name):
    """They gave NaN: ``(x - sigma eps) / alpha`` with ``alpha = 0``."""
    sde, network = (
        replace(SDE, zero_terminal_snr=True, t_max=39 / 40),
        ScoreNetwork(dict, lambda p, x, t, **_: 0.1 * x),
    )
    score_fn = make_score_fn(sde, network, PARAMETERIZATIONS[name](), {})
    solve = lambda sampler: sampler.solve(None, sde, score_fn, LATENT).x  # noqa: E731
    if name in ("denoised", "v"):
        assert np.isfinite(solve(DiscreteDDIM(num_steps=4))).all()
        return
    with pytest.raises(ValueError, match=r"where the network predicts v or the denoised image$"):
        solve(DiscreteDDIM(num_steps=4))
    if name not in ("discrete_noise", "discrete_score"):
        assert np.isfinite(solve(DiscreteDDIM(num_steps=4, spacing="leading"))).all()
    leading = DiscreteDDIM(num_steps=4, spacing="leading")  # which begins below that level
    assert jax.eval_shape(lambda: leading.solve(None, sde, score, LATENT)).x.shape == (2,)


def test_a_network_that_predicts_v_starts_at_a_level_without_signal():
    """``v = -x_0`` there: one step leads to the mean of the data, thresholded or not."""
    sde = replace(SDE, zero_terminal_snr=True, t_max=39 / 40)
    network = ScoreNetwork(
        init=lambda key: {}, apply=lambda params, x, t, **_: jnp.full_like(x, -0.7)
    )
    score_fn = make_score_fn(sde, network, VelocityPrediction(), {})
    for limit, wanted in ((None, 0.7), (0.5, 0.5)):
        used = (
            score_fn
            if limit is None
            else thresholded(sde, score_fn, StaticThreshold(low=-limit, high=limit))
        )
        x = jax.jit(lambda used=used: DiscreteDDIM(num_steps=1).solve(None, sde, used, LATENT).x)()
        np.testing.assert_allclose(x, wanted, rtol=1e-6)


def test_a_latent_is_scaled_to_the_first_noise_level():
    """VE from three quarters of the noise down: the latent of the prior would be far
    too noisy there.
    """
    sde, sampler = VESDE(), DiscreteDDIM(num_steps=4, spacing="leading")
    started = []
    jax.eval_shape(lambda: sampler.solve(None, sde, lambda x, t: started.append(x) or -x, LATENT))
    times, start, _ = sampler.levels(sde)
    assert times[0] < 0.8 * sde.t_max
    found = jax.jit(
        lambda: sampler.solve(None, sde, lambda x, t: -x / 50.0**2, LATENT * 50.0, save_path=2)
    )()
    np.testing.assert_allclose(found.path[0], LATENT * np.hypot(1.0, start.sigma[0]), rtol=1e-3)


@pytest.mark.parametrize(("make", "options", "message"), [
    (DiscreteDDIM, {"num_steps": 0}, "num_steps=0 must be at least 1"),
    (DiscreteDDIM, {"steps_offset": 1}, "steps_offset=1 must be 0 where spacing=trailing"),
    (DiscreteDDIM, {"steps_offset": -1}, "steps_offset=-1 must be at least 0"),
    (DiscreteDDIM, {"clip": 0.0}, "clip=0.0 must be positive and finite, or None"),
    (DiscreteDDIM, {"eta": 1.5}, r"eta=1\.5 must be from 0 to 1, where 0 is deterministic"),
])  # fmt: skip
def test_wrong_options_are_refused(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_more_steps_than_levels_are_refused():
    with pytest.raises(
        ValueError, match="num_steps=50 must be at most 40, the number of noise levels"
    ):
        DiscreteDDIM(num_steps=50).solve(None, SDE, score, LATENT)
    with pytest.raises(ValueError, match="steps_offset=29 must be at most 19"):
        DiscreteDDIM(num_steps=2, spacing="leading", steps_offset=29).levels(SDE)
