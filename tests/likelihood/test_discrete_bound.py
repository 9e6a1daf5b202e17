"""The bound of discrete-time models, against normal data, for which every gap is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import HIGH, SLOW, decoder_gap, keys

from score_sde.likelihood.discrete_bound import ddpm_vlb, level_times, step_costs
from score_sde.parameterization import DiscreteNoisePrediction
from score_sde.sdes import VPSDE, ddpm_betas, ddpm_marginals
from score_sde.sdes.mixture import Mixture

MEAN, STD, DIM = 0.3, 0.5, 32
NORMAL = Mixture(means=((MEAN,) * DIM,), std=STD)
POINT = MEAN + STD * np.random.default_rng(5).normal(size=DIM)


def discrete_score(mixture, marginals):
    """The exact score at the levels of a table, and nowhere else."""
    alpha, sigma = (jnp.asarray(table, jnp.float32) for table in marginals)
    last = len(marginals.sigma) - 1

    def score(x, t):
        level = jnp.floor(t * last).astype(int)
        log_joint, pull = mixture._joint(x, alpha[level], sigma[level])
        return jax.nn.softmax(log_joint) @ pull

    return score


def reverse_gap(marginals, variance):
    """``sum_i E log (q(x_{i-1} | x_i) / p(x_{i-1} | x_i))`` for normal data at one
    ``x_0``, in closed form.

    Both are normal about the same mean, the exact one, and the exact variance is that
    of ``q(x_{i-1} | x_i, x_0)`` and the square of its coefficient of ``x_0`` times the
    variance of ``x_0`` given ``x_i``. The squared distance to that mean follows from
    ``x_0 - E[x_0 | x_i] = (1 - k alpha)(x_0 - m) - k sigma eps`` with ``k = alpha s^2 /
    v``.
    """
    alpha, sigma = marginals
    total = 0.0
    for i in range(1, len(alpha)):
        beta = 1.0 - (alpha[i] / alpha[i - 1]) ** 2
        posterior = beta * sigma[i - 1] ** 2 / sigma[i] ** 2
        v, coefficient = (alpha[i] * STD) ** 2 + sigma[i] ** 2, alpha[i - 1] * beta / sigma[i] ** 2
        k = alpha[i] * STD**2 / v
        distance = posterior + coefficient**2 * (
            ((1 - k * alpha[i]) * (POINT - MEAN)) ** 2 + (k * sigma[i]) ** 2
        )
        exact = posterior + coefficient**2 * (STD * sigma[i]) ** 2 / v
        model = posterior if variance == "fixedsmall" else beta
        total += 0.5 * np.sum(np.log(model / exact) + distance * (1.0 / model - 1.0 / exact))
    return total


def end_gap(marginals):
    """``E log (q(x_T) / N(0, 1))`` with ``x_T`` from ``x_0``."""
    alpha, sigma = marginals.alpha[-1], marginals.sigma[-1]
    v = (alpha * STD) ** 2 + sigma**2
    mine = np.log(v) + ((alpha * (POINT - MEAN)) ** 2 + sigma**2) / v
    return 0.5 * np.sum((alpha * POINT) ** 2 + sigma**2 - mine)


def many_bounds(marginals, num_keys=200, mixture=NORMAL, x=POINT, **options):
    score, x = discrete_score(mixture, marginals), jnp.asarray(x, jnp.float32)
    run = jax.vmap(
        lambda key: ddpm_vlb(key, score, marginals, x, **{"chunk_size": None, **options})
    )
    return jax.device_get(jax.jit(run)(keys(1, num_keys)))


def mean_and_error(values):
    values = np.asarray(values, np.float64)
    return values.mean(), values.std() / np.sqrt(len(values))


@pytest.mark.parametrize("variance", ["fixedsmall", "fixedlarge"])
@pytest.mark.parametrize("num_scales", [40, pytest.param(1000, marks=SLOW)])
@pytest.mark.parametrize("num_terms", [None, 13])
def test_the_bound_is_the_density_but_for_known_gaps(variance, num_scales, num_terms):
    """``-log p(x_0)`` and the gaps of prior, variances and decoder: within 4 standard
    errors of 200 bounds.

    1 key in 16,000 fails each; they are fixed.
    """
    marginals = ddpm_marginals(num_scales)
    decoder_variance = step_costs(marginals, variance).posterior_std[0] ** 2
    decoding = decoder_gap(
        marginals.alpha[0], marginals.sigma[0], MEAN, STD, POINT, decoder_variance
    )
    gap = decoding + reverse_gap(marginals, variance) + end_gap(marginals)
    exact = -0.5 * np.sum(((POINT - MEAN) / STD) ** 2 + np.log(2.0 * np.pi * STD**2))
    bounds = many_bounds(marginals, variance=variance, num_terms=num_terms)
    found, error = mean_and_error(bounds.log_prob)
    assert abs(found - (exact - gap)) < 4.0 * error + 2e-3
    np.testing.assert_allclose(
        bounds.log_prob,
        -(bounds.prior + bounds.diffusion + bounds.reconstruction),
        rtol=1e-4,
        atol=1e-3,
    )


@pytest.mark.slow
def test_the_bound_tends_to_the_density_with_more_levels():
    """400 levels of a mixture: 0.15 nats per dimension below ``log p_0`` at most, half
    of that by the decoder.

    Above it by no more than 4 standard errors of 50 bounds (1 key in 30,000 fails).
    """
    x, options = (
        np.asarray(HIGH.sample(jax.random.key(9), 1)[0]),
        {"num_terms": 100, "variance": "fixedlarge"},
    )
    found, error = mean_and_error(many_bounds(ddpm_marginals(400), 50, HIGH, x, **options).log_prob)
    exact = float(HIGH.data_log_prob(jnp.asarray(x)))
    assert exact - 0.15 * HIGH.dim < found < exact + 4.0 * error


@pytest.mark.slow
@pytest.mark.parametrize("num_terms", [None, 20])
def test_the_standard_error_is_not_too_small(num_terms):
    """Over 500 keys: from 0.9 to 2 times the standard deviation of the bounds, known to 4 %."""
    bounds = many_bounds(ddpm_marginals(100), 500, num_terms=num_terms)
    stated = np.sqrt(np.mean(np.square(np.asarray(bounds.std_error, np.float64))))
    assert 0.9 < stated / np.std(np.asarray(bounds.log_prob, np.float64)) < 2.0


def test_coefficients_are_those_of_the_paper():
    """``beta^2 / (2 variance (1 - beta) sigma^2)`` (Ho et al. 2020, eq. 12), and the
    posterior variance of eq. 7.
    """
    betas, sigma = ddpm_betas(50), ddpm_marginals(50).sigma
    posterior = (sigma[:-1] / sigma[1:]) ** 2 * betas[1:]
    np.testing.assert_allclose(
        step_costs(ddpm_marginals(50), "fixedsmall").posterior_std ** 2, posterior, rtol=1e-9
    )
    for variance, chosen in (("fixedsmall", posterior), ("fixedlarge", betas[1:])):
        costs = step_costs(ddpm_marginals(50), variance)
        known = betas[1:] ** 2 / (2.0 * chosen * (1.0 - betas[1:]) * sigma[1:] ** 2)
        np.testing.assert_allclose(0.5 * costs.weight, known, rtol=1e-9)
        np.testing.assert_allclose(
            costs.constant, 0.5 * (np.log(chosen / posterior) + posterior / chosen - 1.0), atol=1e-9
        )


@pytest.mark.parametrize("num_scales", [25, 1000, 4001])
def test_the_label_at_the_time_of_a_level_is_its_index(num_scales):
    """Also after the arithmetic of float32, which would take some levels for those below."""
    parameterization, sde = DiscreteNoisePrediction(num_scales=num_scales), VPSDE()
    times = jnp.asarray(level_times(num_scales, sde.t_max))
    labels = jax.vmap(lambda t: parameterization.network_input(sde, jnp.zeros(1), t)[1])(times)
    np.testing.assert_allclose(labels, np.arange(num_scales), rtol=1e-6)
    np.testing.assert_array_equal(np.floor(labels), np.arange(num_scales))
    sigmas = jax.vmap(lambda t: -1.0 / parameterization.score(sde, jnp.ones(1), jnp.ones(1), t)[0])(
        times
    )
    np.testing.assert_allclose(sigmas, ddpm_marginals(num_scales).sigma, rtol=1e-6)


def test_bins_and_chunks():
    """The probability of levels is at most one, and chunks give the same bound."""
    marginals = ddpm_marginals(30)
    score, x = discrete_score(NORMAL, marginals), jnp.full((DIM,), -1.0 + 1.0 / 256.0)
    key, options = jax.random.key(0), {"bin_width": 2.0 / 256.0, "num_terms": 7}
    run = lambda size: ddpm_vlb(key, score, marginals, x, chunk_size=size, **options)  # noqa: E731
    whole, chunks = jax.jit(lambda: (run(None), run(3)))()
    np.testing.assert_allclose(chunks, whole, rtol=1e-5)
    assert float(whole.reconstruction) > 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_terms": 0}, "num_terms=0 must be at least 1"),
        (
            {"num_terms": 30},
            "num_terms=30 must be at most 29, the number of steps between levels",
        ),
        ({"variance": "learned"}, "variance='learned' must be one of fixedsmall, fixedlarge"),
    ],
)
def test_wrong_options_are_refused_in_one_line(options, message):
    marginals = ddpm_marginals(30)
    if "variance" in options:
        call = lambda: step_costs(marginals, **options)  # noqa: E731
    else:
        call = lambda: ddpm_vlb(  # noqa: E731
            jax.random.key(0), lambda x, t: -x, marginals, jnp.ones(2), **options
        )
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
