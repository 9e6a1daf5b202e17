"""Log-likelihoods against exact densities."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import (
    GAUSSIAN,
    HIGH,
    IMAGES,
    PLANE,
    SDES,
    SLOW,
    keys,
    marginal_std,
    slow_but,
    two_modes_score,
)
from scipy import stats

from score_sde.divergence import ExactTrace, Hutchinson, HutchPP
from score_sde.likelihood.flow import LogLikelihood, bits_per_dim, log_likelihood
from score_sde.sampling import ProbabilityFlow, encode
from score_sde.sdes import VPSDE, prior_log_prob
from score_sde.sdes.mixture import Mixture

KEY = jax.random.key(0)
IMAGE_SHAPE = (16, 16, 3)
ROOMY = [pytest.param(HIGH, marks=SLOW, id="64d"), pytest.param(IMAGES, marks=SLOW, id="images")]


def data_at_t_min(mixture, sde, num):
    """Points from ``p_t`` at ``t_min``, in float64 where it is on."""
    noise = jax.random.normal(jax.random.key(8), (num, mixture.dim))
    alpha, sigma = sde.marginal(sde.t_min)
    return alpha * mixture.sample(jax.random.key(9), num) + sigma * noise


def expected_log_prob(mixture, sde, x, latent):
    """``log p_tmin(x)``, and how much the prior is mistaken at the latent: ``log
    prior(z) - log p_tmax(z)``.
    """
    mismatch = prior_log_prob(sde, latent) - mixture.log_prob(sde, latent, sde.t_max)
    return mixture.log_prob(sde, x, sde.t_min) + mismatch


@pytest.mark.parametrize(
    ("name", "mixture"),
    [
        *[pytest.param(name, PLANE, marks=() if name == "subvp" else SLOW) for name in SDES],
        *[pytest.param(name, HIGH, marks=() if name == "vp" else SLOW) for name in SDES],
    ],
    ids=lambda value: f"{value.dim}d" if isinstance(value, Mixture) else value,
)
def test_the_exact_trace_gives_the_exact_density(name, mixture):
    """Within 1e-3 nats in the plane and 2e-3 in 64 dimensions at a tolerance of 1e-5 in
    float64, for points of data.
    """
    sde = SDES[name]

    @jax.jit
    @jax.vmap
    def both(x):
        result = log_likelihood(
            KEY, sde, mixture.score_fn(sde), x, divergence=ExactTrace(), rtol=1e-5, atol=1e-5
        )
        return result, expected_log_prob(mixture, sde, x, result.latent)

    with jax.enable_x64(True):
        result, expected = both(data_at_t_min(mixture, sde, 16 if mixture is PLANE else 4))
        assert result.log_prob.dtype == jnp.float64
    assert np.abs(result.log_prob - expected).max() <= (1e-3 if mixture is PLANE else 2e-3)
    np.testing.assert_array_equal(result.std_error, 0.0)


@SLOW
def test_the_other_solver_agrees_with_the_exact_density():
    sde = VPSDE()

    @jax.jit
    @jax.vmap
    def both(x):
        result = log_likelihood(
            KEY, sde, PLANE.score_fn(sde), x, divergence=ExactTrace(), solver="dopri5"
        )
        return result.log_prob, expected_log_prob(PLANE, sde, x, result.latent)

    log_prob, expected = both(data_at_t_min(PLANE, sde, 16))
    np.testing.assert_allclose(log_prob, expected, atol=2e-3)


def test_gaussian_data_has_a_closed_form():
    """The latent is ``b / a (x - alpha m)`` and the log determinant ``2 log(b / a)``,
    whatever the prior.
    """
    sde, x = VPSDE(t_max=0.5), np.array([0.4, -1.0])
    with jax.enable_x64(True):
        run = jax.jit(
            lambda x: log_likelihood(
                KEY, sde, GAUSSIAN.score_fn(sde), x, divergence=ExactTrace(), rtol=1e-8, atol=1e-8
            )
        )
        result = run(jnp.asarray(x))
        (first, a), (last, b) = (
            (float(sde.marginal(t).alpha), marginal_std(GAUSSIAN, sde, t))
            for t in (sde.t_min, sde.t_max)
        )
        mean = np.array(GAUSSIAN.means[0])
        latent = last * mean + b / a * (x - first * mean)
        np.testing.assert_allclose(result.latent, latent, rtol=1e-6)
        log_prior = -0.5 * np.sum(latent**2) - math.log(2.0 * math.pi)
        np.testing.assert_allclose(result.log_prob, log_prior + 2.0 * math.log(b / a), rtol=1e-6)


DIVERGENCES = {
    "rademacher": Hutchinson(num_probes=16),
    "gaussian": Hutchinson(num_probes=16, kind="gaussian"),
    "sphere": Hutchinson(num_probes=16, kind="sphere"),
    "hutchpp": HutchPP(num_probes=16, sketch_size=4),
}


def dense_gaussian(sde, dim=32):
    """The score, the log density and a point of a Gaussian whose covariance has a
    spread spectrum in a random basis.
    """
    rng = np.random.default_rng(6)
    basis, variances = np.linalg.qr(rng.normal(size=(dim, dim)))[0], np.geomspace(0.02, 2.0, dim)

    def score(x, t):
        alpha, sigma = sde.marginal(t)
        return -basis @ ((basis.T @ x) / (alpha**2 * variances + sigma**2))

    def log_prob(x, t):
        alpha, sigma = (np.float64(value) for value in sde.marginal(t))
        v = alpha**2 * variances + sigma**2
        return -0.5 * np.sum((x @ basis) ** 2 / v + np.log(2.0 * np.pi * v), axis=-1)

    return (
        score,
        log_prob,
        jnp.asarray(basis @ (np.sqrt(variances) * rng.normal(size=dim)), jnp.float32),
    )


def coverage(errors, std_errors, num_probes):
    """How many errors are in the intervals of 95 % by Student's distribution."""
    return np.mean(np.abs(errors) < stats.t.ppf(0.975, num_probes - 1) * np.asarray(std_errors))


@pytest.mark.parametrize("name", slow_but(DIVERGENCES, "rademacher"))
def test_random_probes_are_unbiased_and_know_their_error(name):
    """1,000 estimates of 16 probes at one point in 32 dimensions, against the exact density.

    The mean is within 3 standard errors (1 key in 370 fails). The intervals of 95 %
    cover 95 +- 2 % of the errors (were they exact, 1 key in 270 would fail). The key is
    fixed.
    """
    sde = VPSDE()
    score, exact, x = dense_gaussian(sde)
    options = {"divergence": DIVERGENCES[name], "rtol": 1e-4, "atol": 1e-4}
    found = jax.jit(jax.vmap(lambda key: log_likelihood(key, sde, score, x, **options)))(
        keys(1, 1000)
    )
    latent = np.asarray(found.latent, np.float64)
    mismatch = -0.5 * np.sum(latent**2 + np.log(2.0 * np.pi), axis=-1) - exact(latent, sde.t_max)
    errors = (
        np.asarray(found.log_prob, np.float64)
        - exact(np.asarray(x, np.float64), sde.t_min)
        - mismatch
    )
    assert errors.std() > 0.01
    assert abs(errors.mean()) < 3.0 * errors.std() / np.sqrt(len(errors))
    assert abs(coverage(errors, found.std_error, 16) - 0.95) <= 0.02


@SLOW
@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
def test_few_directions_skew_the_estimates(kind):
    """A mixture of three in 64 dimensions has a Jacobian of two directions and a
    multiple of the identity.

    Estimates are then skewed like a chi-square of few degrees of freedom, and 16 of
    them leave the interval of 95 % narrower than stated: it covers 90 % at least.
    Unbiased to 3 standard errors of 1,000 keys (1 in 370 fails; fixed).
    """
    sde, x = VPSDE(), data_at_t_min(HIGH, VPSDE(), 1)[0]
    options = {"divergence": Hutchinson(num_probes=16, kind=kind), "rtol": 1e-4, "atol": 1e-4}
    run = lambda key: log_likelihood(key, sde, HIGH.score_fn(sde), x, **options)  # noqa: E731
    found = jax.jit(jax.vmap(run))(keys(1, 1000))
    exact = jax.jit(jax.vmap(lambda latent: expected_log_prob(HIGH, sde, x, latent)))(found.latent)
    errors = np.asarray(found.log_prob, np.float64) - np.asarray(exact, np.float64)
    assert abs(errors.mean()) < 3.0 * errors.std() / np.sqrt(len(errors))
    assert 0.9 <= coverage(errors, found.std_error, 16) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but(SDES, "vp"))
@pytest.mark.parametrize("mixture", [pytest.param(PLANE, id="2d"), *ROOMY])
def test_the_default_tolerance_gives_the_density_in_float32(name, mixture):
    """Within 1e-4 nats per dimension, for points of the data in 2, 64 and 768 dimensions;
    twice that for the SDE of discrete levels, whose rate is only piecewise smooth.
    """
    sde, shape = SDES[name], IMAGE_SHAPE if mixture is IMAGES else (mixture.dim,)
    x = data_at_t_min(mixture, sde, {2: 32, 64: 16, 768: 2}[mixture.dim]).reshape(-1, *shape)
    score, divergence = mixture.score_fn(sde), ExactTrace(chunk_size=256)
    found = jax.jit(jax.vmap(lambda x: log_likelihood(KEY, sde, score, x, divergence=divergence)))(
        x
    )
    assert found.log_prob.dtype == jnp.float32
    x, latent = np.asarray(x, np.float64), np.asarray(found.latent, np.float64)
    with jax.enable_x64(True):
        expected = jax.vmap(lambda x, z: expected_log_prob(mixture, sde, x, z))(
            jnp.asarray(x), jnp.asarray(latent)
        )
    assert np.abs(np.asarray(found.log_prob) - np.asarray(expected)).max() / mixture.dim <= (
        2e-4 if name == "discrete_vp" else 1e-4
    )


@pytest.mark.slow
def test_the_solver_error_is_that_of_the_looser_tolerance():
    """One point, in float64: the distance to the exact density within a third, and the
    better result is returned.
    """
    sde, x = VPSDE(), np.array([0.2, 0.4])
    options = {"divergence": ExactTrace(), "atol": 1e-4}
    run = lambda x, **more: log_likelihood(KEY, sde, PLANE.score_fn(sde), x, **options, **more)  # noqa: E731
    with jax.enable_x64(True):
        checked = jax.jit(lambda x: run(x, rtol=1e-4, check_tolerance=True))(jnp.asarray(x))
        loose = jax.jit(lambda x: run(x, rtol=1e-4))(jnp.asarray(x))
        exact = expected_log_prob(PLANE, sde, jnp.asarray(x), checked.latent)
        loose, checked, exact = jax.device_get((loose, checked, exact))
    assert np.isnan(loose.solver_error)
    np.testing.assert_allclose(
        checked.solver_error, abs(checked.log_prob - loose.log_prob), rtol=1e-6
    )
    np.testing.assert_allclose(checked.solver_error, abs(exact - loose.log_prob), rtol=1 / 3)
    assert abs(checked.log_prob - exact) < abs(loose.log_prob - exact) / 3
    assert int(checked.nfe) > 2 * int(loose.nfe)


@SLOW
def test_the_probes_of_a_checked_solve_are_the_same():
    """So the solver error of a single probe is far below the spread over probes."""
    sde, x = VPSDE(), jnp.array([0.2, 0.4])
    run = jax.vmap(
        lambda key: log_likelihood(key, sde, PLANE.score_fn(sde), x, check_tolerance=True)
    )
    found = jax.jit(run)(keys(3, 16))
    assert found.solver_error.max() < 1e-3 < 0.1 * np.std(found.log_prob)


@SLOW
def test_the_memory_of_a_reverse_gradient_grows_with_the_root_of_max_steps():
    """64 times the steps take under 8 times the memory: the checkpoints are ``sqrt(2
    max_steps)``, of some 3 states.
    """
    sde, x = VPSDE(), jnp.zeros(256)

    def memory(max_steps):
        def log_prob(x):
            score = two_modes_score(sde)
            return log_likelihood(
                KEY, sde, score, x, max_steps=max_steps, differentiate="reverse"
            ).log_prob

        return jax.jit(jax.grad(log_prob)).lower(x).compile().memory_analysis().temp_size_in_bytes

    few, many = memory(64), memory(4096)
    assert few < many < 8 * few
    assert many - few < 4 * x.nbytes * (np.sqrt(2 * 4096) - np.sqrt(2 * 64))


def test_the_latent_is_the_encoding():
    sde, x = VPSDE(), jnp.array([0.2, 0.4])
    score = PLANE.score_fn(sde)
    latent = jax.jit(lambda x: log_likelihood(KEY, sde, score, x, rtol=1e-6, atol=1e-6).latent)(x)
    flow = ProbabilityFlow(rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        latent, jax.jit(lambda x: encode(sde, score, x, sampler=flow))(x), atol=1e-4
    )


@SLOW
def test_the_gradient_by_the_sample_is_the_score():
    """With ``alpha(t_max)`` of 3e-7 the prior is right, and nothing is between the two."""
    sde = VPSDE(beta_max=60.0)
    score = PLANE.score_fn(sde)

    def log_prob(x):
        options = {
            "divergence": ExactTrace(),
            "rtol": 1e-6,
            "atol": 1e-6,
            "differentiate": "reverse",
        }
        return log_likelihood(KEY, sde, score, x, max_steps=256, **options).log_prob

    with jax.enable_x64(True):
        x = jnp.array([0.2, 0.4])
        np.testing.assert_allclose(jax.jit(jax.grad(log_prob))(x), score(x, sde.t_min), rtol=1e-3)


@pytest.mark.slow
def test_forward_derivatives_need_no_checkpoints():
    """A shift of the data by ``shift`` moves the log density by minus the score."""
    sde, x = VPSDE(beta_max=60.0), jnp.array([0.2, 0.4])

    def log_prob(shift):
        score = lambda x, t: PLANE.score_fn(sde)(x - sde.marginal(t).alpha * shift, t)  # noqa: E731
        return log_likelihood(KEY, sde, score, x, divergence=ExactTrace()).log_prob

    shift, direction = jnp.zeros(2), jnp.array([1.0, 0.5])
    _, derivative = jax.jit(lambda: jax.jvp(log_prob, (shift,), (direction,)))()
    # To first order in sigma(t_min)^2, data and sample are shifted alike.
    expected = -direction @ PLANE.score_fn(sde)(x, sde.t_min)
    np.testing.assert_allclose(derivative, expected, rtol=5e-3)


def test_running_out_of_steps_gives_nan_and_no_number():
    run = jax.jit(lambda x: log_likelihood(KEY, VPSDE(), PLANE.score_fn(VPSDE()), x, max_steps=3))
    result = run(jnp.ones(2))
    assert (
        np.isnan(result.log_prob) and np.isnan(result.latent).all() and int(result.nfe) == 6 * 3 + 1
    )


@pytest.mark.parametrize(
    ("bin_width", "offset"),
    [(2.0 / 256.0, 7.0), (1.0 / 256.0, 8.0), (2.0 / 17.0, math.log2(17.0 / 2.0))],
)
def test_bits_per_dim_by_hand(bin_width, offset):
    """8 bits on [-1, 1] and on [0, 1], and the 17 levels of the digits on [-1, 1]:
    ``offset - log2 p / dim``.
    """
    log_prob = -96.0 * math.log(2.0)
    np.testing.assert_allclose(
        bits_per_dim(log_prob, 64, bin_width=bin_width), offset + 1.5, rtol=1e-6
    )
    np.testing.assert_allclose(bits_per_dim(0.0, 64, bin_width=bin_width), offset, rtol=1e-6)


def test_uniform_data_of_256_levels_has_eight_bits():
    """Uniform density on [-1, 1]^3, ``3 log(1/2)`` nats."""
    np.testing.assert_allclose(
        bits_per_dim(jnp.asarray(3.0 * math.log(0.5)), 3, bin_width=2.0 / 256.0), 8.0, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bits_per_dim(0.0, 1, bin_width=0.0), "bin_width=0.0 must be positive"),
        (
            lambda: log_likelihood(KEY, VPSDE(), PLANE.score_fn(VPSDE()), jnp.ones(2), rtol=0.0),
            "rtol=0.0 must be positive and finite",
        ),
        (
            lambda: log_likelihood(KEY, VPSDE(), PLANE.score_fn(VPSDE()), jnp.ones(2), max_steps=0),
            "max_steps=0 must be at least 1",
        ),
    ],
)
def test_wrong_options_are_refused_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_the_fields_of_a_log_likelihood_keep_their_order():
    assert LogLikelihood._fields == ("log_prob", "latent", "nfe", "std_error", "solver_error")
