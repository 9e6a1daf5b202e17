"""Predictors and the corrector: their equations, and the densities they leave behind."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import CENTRED, GAUSSIAN, PLANE, SDES, SLOW, keys, marginal_std, order, slow_but

from score_sde.experiments.tables import FUNCTIONS
from score_sde.sampling import (
    PredictorCorrector,
    ancestral,
    ancestral_large,
    annealed_langevin,
    euler_maruyama,
    langevin,
    no_corrector,
    no_predictor,
    reverse_diffusion_step,
)
from score_sde.sdes import VESDE, VPSDE
from score_sde.sdes.mixture import Mixture
from score_sde.sdes.reverse import reverse_drift

each_sde = pytest.mark.parametrize("name", SDES)
X, KEY = jnp.array([0.4, -1.0]), jax.random.key(0)
T, T_NEXT = 0.6, 0.58


def noise_of(predictor, sde):
    """The standard normal numbers that the key stands for, read from a step on which
    only noise acts.
    """
    step = predictor(KEY, sde, lambda x, t: jnp.zeros_like(x), jnp.zeros(2), T, T_NEXT)
    euler_std = sde.diffusion(T) * np.sqrt(T - T_NEXT)
    return step / (euler_std if predictor is euler_maruyama else sde.transition(T_NEXT, T).sigma)


@each_sde
@pytest.mark.parametrize("noise_scale", [0.0, 0.7, 1.0])
def test_euler_maruyama_follows_its_formula(name, noise_scale):
    sde, score, dt = SDES[name], PLANE.score_fn(SDES[name]), T - T_NEXT
    z, g = noise_of(euler_maruyama, sde), sde.diffusion(T)
    drift = sde.drift(X, T) - 0.5 * (1.0 + noise_scale**2) * g**2 * score(X, T)
    expected = X - drift * dt + noise_scale * g * np.sqrt(dt) * z
    actual = euler_maruyama(KEY, sde, score, X, T, T_NEXT, noise_scale=noise_scale)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_reverse_diffusion_is_the_predictor_of_the_paper():
    """VP: ``(2 - sqrt(1 - beta_i)) x + beta_i s + sqrt(beta_i) z``; VE: ``x +
    (sigma_i^2 - sigma_{i-1}^2) s + ...``.

    Song et al. 2021, algorithms 2 and 3, with ``1 - beta_i`` the ratio of the products
    ``alpha-bar``.
    """
    vp, score = VPSDE(), PLANE.score_fn(VPSDE())
    with jax.enable_x64(True):
        beta = 1.0 - float(vp.marginal(T).alpha / vp.marginal(T_NEXT).alpha) ** 2
    z = noise_of(reverse_diffusion_step, vp)
    expected = (2.0 - np.sqrt(1.0 - beta)) * X + beta * score(X, T) + np.sqrt(beta) * z
    np.testing.assert_allclose(
        reverse_diffusion_step(KEY, vp, score, X, T, T_NEXT), expected, rtol=1e-5
    )
    ve, score = VESDE(), PLANE.score_fn(VESDE())
    v = float(ve.marginal(T).sigma) ** 2 - float(ve.marginal(T_NEXT).sigma) ** 2
    z = noise_of(reverse_diffusion_step, ve)
    expected = X + v * score(X, T) + np.sqrt(v) * z
    np.testing.assert_allclose(
        reverse_diffusion_step(KEY, ve, score, X, T, T_NEXT), expected, rtol=1e-4
    )


def test_ancestral_steps_agree_with_the_papers():
    """VP: ``(x + beta s) / sqrt(1 - beta) + sqrt(beta) z``, smaller by the posterior's
    factor; VE: Song's eq. 47.
    """
    zero = lambda x, t: jnp.zeros_like(x)  # noqa: E731
    vp, score = VPSDE(), PLANE.score_fn(VPSDE())
    with jax.enable_x64(True):
        beta = 1.0 - float(vp.marginal(T).alpha / vp.marginal(T_NEXT).alpha) ** 2
    shrink = float(vp.marginal(T_NEXT).sigma / vp.marginal(T).sigma)
    z = ancestral_large(KEY, vp, zero, jnp.zeros(2), T, T_NEXT) / np.sqrt(beta)
    mean = (X + beta * score(X, T)) / np.sqrt(1.0 - beta)
    large, small = (step(KEY, vp, score, X, T, T_NEXT) for step in (ancestral_large, ancestral))
    np.testing.assert_allclose(large, mean + np.sqrt(beta) * z, rtol=1e-5)
    np.testing.assert_allclose(small, mean + shrink * np.sqrt(beta) * z, rtol=1e-5)
    ve, score = VESDE(), PLANE.score_fn(VESDE())
    now, then = float(ve.marginal(T).sigma) ** 2, float(ve.marginal(T_NEXT).sigma) ** 2
    expected = X + (now - then) * score(X, T) + np.sqrt(then * (now - then) / now) * z
    np.testing.assert_allclose(ancestral(KEY, ve, score, X, T, T_NEXT), expected, rtol=1e-4)


def test_an_ancestral_chain_is_exact_for_one_data_point():
    """The posterior given the only ``x_0`` is the true reverse transition, so any grid
    gives the exact marginal.
    """
    sde, x0 = VPSDE(), 0.7
    times = [1.0, 0.4, 0.15]
    score = lambda x, t: -(x - sde.marginal(t).alpha * x0) / sde.marginal(t).sigma ** 2  # noqa: E731
    alpha, sigma = sde.marginal(1.0)
    first, *steps = jax.random.split(KEY, len(times))
    x = alpha * x0 + sigma * jax.random.normal(first, (40_000,))
    for key, t, t_next in zip(steps, times, times[1:], strict=False):
        x = ancestral(key, sde, score, x, t, t_next)
    alpha, sigma = (float(value) for value in sde.marginal(times[-1]))
    # 4.5 standard errors of a mean and of a variance of 40,000 numbers: 1 key in
    # 100,000 fails; the key is fixed.
    assert abs(float(jnp.mean(x)) - alpha * x0) < 4.5 * sigma / 200
    assert abs(float(jnp.var(x)) / sigma**2 - 1.0) < 4.5 * np.sqrt(2.0) / 200


@each_sde
@pytest.mark.parametrize(
    "predictor", [p for p in FUNCTIONS["predictor"].values() if p is not no_predictor]
)
def test_predictors_agree_with_the_reverse_sde_in_the_limit_of_small_steps(name, predictor):
    """Drift from the mean of the step without noise, diffusion from its noise, to first
    order in ``dt``.
    """
    sde = SDES[name]
    score, dt = PLANE.score_fn(sde), 1e-6
    with jax.enable_x64(True):
        t, x = jnp.asarray(0.5), jnp.asarray(X, jnp.float64)
        still = predictor(KEY, sde, score, x, t, t - dt, noise_scale=0.0)
        drift = reverse_drift(sde, score, noise_scale=0.0)(x, t)
        np.testing.assert_allclose((x - still) / dt, drift, rtol=1e-4, atol=1e-5)
        moves = predictor(KEY, sde, lambda x, t: jnp.zeros_like(x), jnp.zeros(20_000), t, t - dt)
        # The standard deviation of 20,000 numbers is within 2 % but for 1 key in
        # 10,000; the key is fixed.
        np.testing.assert_allclose(np.std(moves) / np.sqrt(dt), sde.diffusion(t), rtol=0.02)


@pytest.mark.parametrize("noise_scale", [pytest.param(0.0, marks=SLOW), 1.0])
@pytest.mark.parametrize(
    "predictor", [p for p in FUNCTIONS["predictor"].values() if p is not no_predictor]
)
def test_predictors_have_weak_order_1(predictor, noise_scale):
    """Gaussian data: a step is ``a x + b z``, and ``V <- a^2 V + b^2`` from the exact
    marginal to the exact one.
    """
    sde = VPSDE(t_min=1e-2)
    start, stop = (marginal_std(CENTRED, sde, t) ** 2 for t in (sde.t_max, sde.t_min))

    def error(n):
        times = jnp.linspace(sde.t_max, sde.t_min, n + 1, dtype=jnp.float64)

        def step(x):
            one = lambda t, t_next: predictor(  # noqa: E731
                KEY, sde, CENTRED.score_fn(sde), x, t, t_next, noise_scale=noise_scale
            )
            return jax.vmap(one)(times[:-1], times[1:])

        b = (step(jnp.zeros(2)) / jax.random.normal(KEY, (2,)))[:, 0]
        a = (step(jnp.ones(2)) - step(jnp.zeros(2)))[:, 0]
        return abs(
            float(jax.lax.fori_loop(0, n, lambda i, v: a[i] ** 2 * v + b[i] ** 2, start)) - stop
        )

    with jax.enable_x64(True):
        measured = order([error(n) for n in (256, 1024)], [256, 1024])
    assert abs(measured - 1.0) < 0.2


@each_sde
def test_annealed_langevin_follows_its_formula(name):
    """``eps = 2 (a snr sigma)^2``, ``x + eps s + sqrt(2 eps) z``."""
    sde, snr = SDES[name], 0.2
    score = PLANE.score_fn(sde)
    a, sigma = sde.transition(T_NEXT, T).alpha, sde.marginal(T).sigma
    eps = 2.0 * (a * snr * sigma) ** 2
    step = lambda score, x: annealed_langevin(KEY, sde, score, x, T, T_NEXT, snr=snr)  # noqa: E731
    z = step(lambda x, t: jnp.zeros_like(x), jnp.zeros(2)) / np.sqrt(2.0 * eps)
    np.testing.assert_allclose(
        step(score, X), X + eps * score(X, T) + np.sqrt(2.0 * eps) * z, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("name", slow_but(SDES, "vp"))
def test_annealed_langevin_keeps_the_density_up_to_its_known_bias(name):
    """40 steps from the exact marginal: ``V <- (1 - eps / v)^2 V + 2 eps``, exactly,
    for Gaussian data.

    The sample variance of 40,000 numbers is within 4.5 standard errors but for 1 key in
    100,000; the key is fixed.
    """
    sde, t, num, num_steps = SDES[name], 0.05, 20_000, 40
    score = GAUSSIAN.score_fn(sde)
    alpha, sigma = (float(value) for value in sde.marginal(t))
    v = marginal_std(GAUSSIAN, sde, t) ** 2
    eps = 2.0 * (0.16 * sigma) ** 2
    expected = v
    for _ in range(num_steps):
        expected = (1.0 - eps / v) ** 2 * expected + 2.0 * eps

    @jax.jit
    @jax.vmap
    def chain(key):
        start, *steps = jax.random.split(key, 1 + num_steps)
        x = alpha * jnp.array(GAUSSIAN.means[0]) + jnp.sqrt(v) * jax.random.normal(start, (2,))
        body = lambda x, key: (annealed_langevin(key, sde, score, x, t, t, snr=0.16), None)  # noqa: E731
        return jax.lax.scan(body, x, jnp.stack(steps))[0]

    x = np.asarray(chain(keys(1, num)), np.float64)
    centred = x - alpha * np.array(GAUSSIAN.means[0])
    assert abs(np.mean(centred**2) / expected - 1.0) < 4.5 * np.sqrt(2.0 / x.size)
    assert (np.abs(centred.mean(0)) < 4.5 * np.sqrt(expected / num)).all()
    assert 1.0 <= expected / v < 1.05


def test_langevin_coupled_over_an_axis_uses_the_mean_norms():
    """``eps = 2 (a snr mean|z| / mean|s|)^2``, as in the published code."""
    sde, batch_keys = VPSDE(), keys(2, 5)
    x = jax.random.normal(KEY, (5, 2))
    zero = lambda x, t: jnp.zeros_like(x)  # noqa: E731
    a, sigma = sde.transition(T_NEXT, T).alpha, sde.marginal(T).sigma
    plain = jax.jit(
        jax.vmap(lambda key: annealed_langevin(key, sde, zero, jnp.zeros(2), T, T_NEXT, snr=0.16))
    )
    z = plain(batch_keys) / (2.0 * a * 0.16 * sigma)
    s = jax.jit(jax.vmap(lambda x: PLANE.score_fn(sde)(x, T)))(x)
    norm = lambda y: np.mean(np.linalg.norm(y, axis=1))  # noqa: E731
    eps = 2.0 * (a * 0.16 * norm(z) / norm(s)) ** 2
    step = lambda key, x: langevin(  # noqa: E731
        key, sde, PLANE.score_fn(sde), x, T, T_NEXT, snr=0.16, axis_name="batch"
    )
    actual = jax.jit(jax.vmap(step, axis_name="batch"))(batch_keys, x)
    np.testing.assert_allclose(actual, x + eps * s + np.sqrt(2.0 * eps) * z, rtol=1e-4, atol=1e-5)


@each_sde
def test_langevin_uses_the_norms_of_the_sample(name):
    """``eps = 2 (a snr |z| / |s|)^2``; where there is no score, ``x`` stays."""
    sde, score = SDES[name], PLANE.score_fn(SDES[name])
    zero = lambda x, t: jnp.zeros_like(x)  # noqa: E731
    a, sigma = sde.transition(T_NEXT, T).alpha, sde.marginal(T).sigma
    z = annealed_langevin(KEY, sde, zero, jnp.zeros(2), T, T_NEXT, snr=0.1) / (
        2.0 * a * 0.1 * sigma
    )
    s = score(X, T)
    eps = 2.0 * (a * 0.1 * jnp.linalg.norm(z) / jnp.linalg.norm(s)) ** 2
    step = langevin(KEY, sde, score, X, T, T_NEXT, snr=0.1)
    np.testing.assert_allclose(step, X + eps * s + jnp.sqrt(2.0 * eps) * z, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(langevin(KEY, sde, zero, X, T, T_NEXT, snr=0.1), X)


def test_no_predictor_and_no_corrector_keep_the_state():
    sde, score = VPSDE(), PLANE.score_fn(VPSDE())
    np.testing.assert_array_equal(no_predictor(KEY, sde, score, X, T, T_NEXT), X)
    np.testing.assert_array_equal(no_corrector(KEY, sde, score, X, T, T_NEXT, snr=0.1), X)


def test_a_standard_normal_is_stationary_under_vp():
    """The score is ``-x``, so one reverse-diffusion step has ``V <- (2 - a - v)^2 V +
    v``: 1 up to order ``v^2``.
    """
    sde, standard = VPSDE(), Mixture(means=((0.0,),), std=1.0)
    with jax.enable_x64(True):
        a, std = (float(part) for part in sde.transition(0.499, 0.5))
        step = lambda x: reverse_diffusion_step(KEY, sde, standard.score_fn(sde), x, 0.5, 0.499)  # noqa: E731
        response = jax.jvp(step, (jnp.ones(1),), (jnp.ones(1),))[1]
        np.testing.assert_allclose(response, 2.0 - a - std**2, rtol=1e-10)
        assert abs(float(response[0]) ** 2 + std**2 - 1.0) < std**4


@pytest.mark.parametrize("section", ["predictor", "corrector"])
def test_predictors_and_correctors_are_equal_by_value_and_know_their_evaluations(section):
    options = {} if section == "predictor" else {"snr": 0.1}
    for step in FUNCTIONS[section].values():
        calls = []
        score = lambda x, t: calls.append(1) or -x  # noqa: B023, E731
        step(KEY, VPSDE(), score, X, T, T_NEXT, **options)
        assert len(calls) == step.evaluations
        assert step == replace(step) and hash(step) == hash(replace(step))
    assert len(set(FUNCTIONS[section].values())) == len(FUNCTIONS[section])


def test_functions_of_the_same_arguments_serve_as_predictor_and_corrector():
    """They give the sample of the values they call, and count as one evaluation each."""

    def predict(key, sde, score_fn, x, t, t_next, *, noise_scale):
        return ancestral(key, sde, score_fn, x, t, t_next, noise_scale=noise_scale)

    def correct(key, sde, score_fn, x, t, t_next, *, snr, axis_name):
        return langevin(key, sde, score_fn, x, t, t_next, snr=snr, axis_name=axis_name)

    sde, options = VPSDE(), {"num_steps": 3, "corrector_steps": 2}
    own, ours = (
        jax.jit(lambda s=s: s.solve(KEY, sde, PLANE.score_fn(sde), X))()
        for s in (
            PredictorCorrector(predictor=predict, corrector=correct, **options),
            PredictorCorrector(predictor=ancestral, corrector=langevin, **options),
        )
    )
    np.testing.assert_array_equal(own.x, ours.x)
    assert int(own.nfe) == int(ours.nfe) == 3 * (1 + 2)
