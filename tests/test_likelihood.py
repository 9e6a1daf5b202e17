"""Log-likelihoods against exact densities."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import GAUSSIAN, HIGH, PLANE, SDES, SLOW, keys, marginal_std, slow_but

from score_sde.evaluation import Mixture
from score_sde.likelihood import (
    ExactTrace,
    Hutchinson,
    LogLikelihood,
    bits_per_dim,
    log_likelihood,
    velocity_and_divergence,
)
from score_sde.reverse import probability_flow
from score_sde.sampling import ProbabilityFlow, encode
from score_sde.sdes import VPSDE, prior_log_prob

KEY = jax.random.key(0)


def data_at_t_min(mixture, sde, num):
    """Points from ``p_t`` at ``t_min``, in float64 where it is on."""
    noise = jax.random.normal(jax.random.key(8), (num, mixture.dim))
    alpha, sigma = sde.marginal(sde.t_min)
    return alpha * mixture.sample(jax.random.key(9), num) + sigma * noise


def expected_log_prob(mixture, sde, x, latent):
    """``log p_tmin(x)``, and how much the prior is mistaken at the latent: ``log prior(z) - log p_tmax(z)``."""
    mismatch = prior_log_prob(sde, latent) - mixture.log_prob(sde, latent, sde.t_max)
    return mixture.log_prob(sde, x, sde.t_min) + mismatch


@pytest.mark.parametrize(
    ("name", "mixture"),
    [
        *[pytest.param(name, PLANE, marks=() if name in ("subvp", "ve") else SLOW) for name in SDES],
        *[pytest.param(name, HIGH, marks=() if name == "vp" else SLOW) for name in SDES],
    ],
    ids=lambda value: f"{value.dim}d" if isinstance(value, Mixture) else value,
)
def test_the_exact_trace_gives_the_exact_density(name, mixture):
    """Within 1e-3 nats at a tolerance of 1e-5 in float64, for points of the data."""
    sde = SDES[name]

    @jax.jit
    @jax.vmap
    def both(x):
        result = log_likelihood(KEY, sde, mixture.score_fn(sde), x, divergence=ExactTrace(), rtol=1e-5, atol=1e-5)
        return result, expected_log_prob(mixture, sde, x, result.latent)

    with jax.enable_x64(True):
        result, expected = both(data_at_t_min(mixture, sde, 16 if mixture is PLANE else 4))
        assert result.log_prob.dtype == jnp.float64
    assert np.abs(result.log_prob - expected).max() <= 1e-3
    np.testing.assert_array_equal(result.std_error, 0.0)


@SLOW
def test_float32_and_the_other_solver_agree_with_the_exact_density():
    sde = VPSDE()

    @jax.jit
    @jax.vmap
    def both(x):
        result = log_likelihood(KEY, sde, PLANE.score_fn(sde), x, divergence=ExactTrace(), solver="dopri5")
        return result.log_prob, expected_log_prob(PLANE, sde, x, result.latent)

    log_prob, expected = both(data_at_t_min(PLANE, sde, 16))
    assert log_prob.dtype == jnp.float32
    np.testing.assert_allclose(log_prob, expected, atol=2e-3)


def test_gaussian_data_has_a_closed_form():
    """The latent is ``b / a (x - alpha m)`` and the log determinant ``2 log(b / a)``, whatever the prior."""
    sde, x = VPSDE(t_max=0.5), np.array([0.4, -1.0])
    with jax.enable_x64(True):
        run = jax.jit(
            lambda x: log_likelihood(KEY, sde, GAUSSIAN.score_fn(sde), x, divergence=ExactTrace(), rtol=1e-8, atol=1e-8)
        )
        result = run(jnp.asarray(x))
        (first, a), (last, b) = (
            (float(sde.marginal(t).alpha), marginal_std(GAUSSIAN, sde, t)) for t in (sde.t_min, sde.t_max)
        )
        mean = np.array(GAUSSIAN.means[0])
        latent = last * mean + b / a * (x - first * mean)
        np.testing.assert_allclose(result.latent, latent, rtol=1e-6)
        log_prior = -0.5 * np.sum(latent**2) - math.log(2.0 * math.pi)
        np.testing.assert_allclose(result.log_prob, log_prior + 2.0 * math.log(b / a), rtol=1e-6)


@pytest.mark.parametrize("kind", slow_but(["rademacher", "gaussian"], "rademacher"))
def test_hutchinson_is_unbiased_and_knows_its_error(kind):
    """400 estimates of 64 probes at one point, against the exact density.

    The mean is within 3 standard errors (1 key in 370 fails), and the standard errors cover: 95 % of nearly normal
    errors are within 2 of them, the share of 400 within 4 standard errors of that (1 key in 15,000 fails). The key is
    fixed.
    """
    sde, x = VPSDE(), jnp.array([0.2, 0.4])
    score = PLANE.score_fn(sde)
    options = {"rtol": 1e-4, "atol": 1e-4}
    divergence = Hutchinson(num_probes=64, kind=kind)
    run = jax.jit(jax.vmap(lambda key: log_likelihood(key, sde, score, x, divergence=divergence, **options)))
    estimates = run(keys(1, 400))
    exact = jax.jit(jax.vmap(lambda latent: expected_log_prob(PLANE, sde, x, latent)))(estimates.latent)
    errors = np.asarray(estimates.log_prob, np.float64) - np.asarray(exact, np.float64)
    assert errors.std() > 0.01
    assert abs(errors.mean()) < 3.0 * errors.std() / np.sqrt(len(errors))
    covered = np.mean(np.abs(errors) < 2.0 * np.asarray(estimates.std_error))
    assert abs(covered - 0.95) < 4.0 * np.sqrt(0.95 * 0.05 / len(errors))


def test_one_probe_has_no_standard_error_and_many_have_less():
    estimates = jnp.array([1.0, 2.0, 4.0, 1.0])
    np.testing.assert_allclose(
        Hutchinson(num_probes=4).std_error(estimates), np.std(estimates, ddof=1) / 2.0, rtol=1e-6
    )
    assert np.isnan(Hutchinson().std_error(estimates[:1]))
    assert float(ExactTrace().std_error(estimates[:1])) == 0.0


def test_probes_have_unit_covariance():
    """Second moments of 40,000 probes, within 5 standard errors: 6 numbers, 1 key in 200,000 fails."""
    x = jnp.zeros((2, 1))
    for kind in ("rademacher", "gaussian"):
        probes = np.asarray(Hutchinson(num_probes=40_000, kind=kind).probes(KEY, x))
        assert probes.shape == (40_000, 2, 1)
        assert np.abs(probes[:, :, 0].T @ probes[:, :, 0] / 40_000 - np.eye(2)).max() < 5.0 * np.sqrt(2.0 / 40_000)
        assert (set(np.unique(probes)) == {-1.0, 1.0}) == (kind == "rademacher")
    np.testing.assert_array_equal(ExactTrace().probes(KEY, x), np.eye(2).reshape(2, 2, 1))


def test_the_divergence_is_the_trace_of_the_jacobian():
    sde, x, t = VPSDE(), jnp.array([0.2, 0.4]), 0.3
    velocity = probability_flow(sde, PLANE.score_fn(sde))
    jacobian = np.asarray(jax.jit(jax.jacfwd(velocity))(x, t))
    forms_of = jax.jit(lambda probes: velocity_and_divergence(velocity, x, t, probes))
    value, forms = forms_of(ExactTrace().probes(KEY, x))
    np.testing.assert_allclose(value, jax.jit(velocity)(x, t), rtol=1e-5)
    np.testing.assert_allclose(ExactTrace().estimates(forms), [np.trace(jacobian)], rtol=1e-5)
    probes = Hutchinson(num_probes=3, kind="gaussian").probes(KEY, x)
    _, forms = forms_of(probes)
    np.testing.assert_allclose(forms, np.einsum("pi,ij,pj->p", probes, jacobian, probes), rtol=1e-5)


def test_the_latent_is_the_encoding():
    sde, x = VPSDE(), jnp.array([0.2, 0.4])
    score = PLANE.score_fn(sde)
    latent = jax.jit(lambda x: log_likelihood(KEY, sde, score, x, rtol=1e-6, atol=1e-6).latent)(x)
    flow = ProbabilityFlow(rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(latent, jax.jit(lambda x: encode(sde, score, x, sampler=flow))(x), atol=1e-4)


def test_the_gradient_by_the_sample_is_the_score():
    """With ``alpha(t_max)`` of 3e-7 the prior is right, and nothing is between the two."""
    sde = VPSDE(beta_max=60.0)
    score = PLANE.score_fn(sde)

    def log_prob(x):
        options = {"divergence": ExactTrace(), "rtol": 1e-6, "atol": 1e-6, "differentiate": "reverse"}
        return log_likelihood(KEY, sde, score, x, max_steps=256, **options).log_prob

    with jax.enable_x64(True):
        x = jnp.array([0.2, 0.4])
        np.testing.assert_allclose(jax.jit(jax.grad(log_prob))(x), score(x, sde.t_min), rtol=1e-3)


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
    assert np.isnan(result.log_prob) and np.isnan(result.latent).all() and int(result.nfe) == 6 * 3 + 1


@pytest.mark.parametrize(
    ("bin_width", "offset"), [(2.0 / 256.0, 7.0), (1.0 / 256.0, 8.0), (2.0 / 17.0, math.log2(17.0 / 2.0))]
)
def test_bits_per_dim_by_hand(bin_width, offset):
    """8 bits on [-1, 1] and on [0, 1], and the 17 levels of the digits on [-1, 1]: ``offset - log2 p / dim``."""
    log_prob = -96.0 * math.log(2.0)
    np.testing.assert_allclose(bits_per_dim(log_prob, 64, bin_width=bin_width), offset + 1.5, rtol=1e-6)
    np.testing.assert_allclose(bits_per_dim(0.0, 64, bin_width=bin_width), offset, rtol=1e-6)


def test_uniform_data_of_256_levels_has_eight_bits():
    """Uniform density on [-1, 1]^3, ``3 log(1/2)`` nats."""
    np.testing.assert_allclose(bits_per_dim(jnp.asarray(3.0 * math.log(0.5)), 3, bin_width=2.0 / 256.0), 8.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Hutchinson(num_probes=0), "num_probes=0 must be at least 1"),
        (lambda: bits_per_dim(0.0, 1, bin_width=0.0), "bin_width=0.0 must be positive"),
        (
            lambda: log_likelihood(KEY, VPSDE(), PLANE.score_fn(VPSDE()), jnp.ones(2), rtol=0.0),
            "rtol=0.0 and atol=1e-05 must be positive",
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


def test_divergences_are_hashable_values():
    assert hash(Hutchinson(num_probes=2)) == hash(Hutchinson(num_probes=2)) and ExactTrace() == ExactTrace()
    assert Hutchinson(num_probes=2) != dataclasses.replace(Hutchinson(num_probes=2), kind="gaussian")
    assert LogLikelihood._fields == ("log_prob", "latent", "nfe", "std_error")
