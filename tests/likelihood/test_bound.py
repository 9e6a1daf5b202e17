"""The variational bound against exact densities and probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import HIGH, IMAGES, SDES, SLOW, decoder_gap, keys, slow_but

from score_sde.likelihood.bound import bound_of, decoding_cost, noise_residual, variational_bound
from score_sde.sdes import VPSDE
from score_sde.sdes.mixture import Mixture

ROOMY = Mixture.from_arrays(np.random.default_rng(3).uniform(-1.0, 1.0, (1, 64)), np.array([0.5]))


def point_of(mixture, shape):
    return jnp.asarray(mixture.sample(jax.random.key(9), 1)[0]).reshape(shape)


def many_bounds(sde, score_fn, x, num_keys=200, **options):
    run = jax.vmap(
        lambda key: variational_bound(key, sde, score_fn, x, **{"num_times": 32, **options})
    )
    return jax.device_get(jax.jit(run)(keys(1, num_keys)))


def mean_and_error(values):
    values = np.asarray(values, np.float64)
    return values.mean(), values.std() / np.sqrt(len(values))


def prior_gap(sde, mean, std, x):
    """``E log (p_tmax(x_t) / prior(x_t))`` for normal data, with ``x_t`` from ``x``."""
    alpha, sigma = (float(value) for value in sde.marginal(sde.t_max))
    v, prior = alpha**2 * std**2 + sigma**2, sde.prior_std() ** 2
    mine = np.log(v) + ((alpha * (x - mean)) ** 2 + sigma**2) / v
    theirs = np.log(prior) + ((alpha * x) ** 2 + sigma**2) / prior
    return 0.5 * np.sum(theirs - mine)


@pytest.mark.parametrize("name", slow_but(SDES, "vp"))
def test_the_bound_is_tight_for_gaussian_data_but_for_prior_and_decoder(name):
    """64 dimensions: the mean of 200 bounds within 4 standard errors (1 key in 16,000
    fails) of the closed form.

    With that standard error below 0.005 nats per dimension, and the gap of the decoder
    below 0.001.
    """
    sde, x = SDES[name], point_of(ROOMY, (4, 4, 4))
    alpha, sigma = (float(value) for value in sde.marginal(sde.t_min))
    flat, mean = np.asarray(x, np.float64).ravel(), np.asarray(ROOMY.means[0])
    gap = decoder_gap(alpha, sigma, mean, 0.5, flat, (sigma / alpha) ** 2)
    expected = float(ROOMY.data_log_prob(x)) - gap - prior_gap(sde, mean, 0.5, flat)
    bounds = many_bounds(sde, ROOMY.score_fn(sde), x)
    found, error = mean_and_error(bounds.log_prob)
    assert error < 0.005 * 64 and abs(gap) < 0.001 * 64
    assert abs(found - expected) < 4.0 * error + 1e-3
    np.testing.assert_allclose(
        bounds.log_prob,
        -(bounds.prior + bounds.diffusion + bounds.reconstruction),
        rtol=1e-4,
        atol=1e-3,
    )


@SLOW
@pytest.mark.parametrize(
    ("mixture", "shape"),
    [pytest.param(HIGH, (64,), id="64d"), pytest.param(IMAGES, (16, 16, 3), id="images")],
)
def test_the_bound_is_tight_for_mixtures(mixture, shape):
    """200 bounds within 0.003 nats per dimension of ``log p_0``, and 4 standard errors
    (1 key in 16,000 fails).
    """
    sde, x = VPSDE(beta_max=30.0, t_min=1e-4), point_of(mixture, shape)
    found, error = mean_and_error(many_bounds(sde, mixture.score_fn(sde), x).log_prob)
    assert abs(found - float(mixture.data_log_prob(x))) < 4.0 * error + 0.003 * mixture.dim


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_wrong_score_has_a_lower_bound(factor):
    """By more than 4 standard errors of the mean of 200 bounds below the exact density."""
    sde, x = VPSDE(), point_of(HIGH, (64,))
    score = HIGH.score_fn(sde)
    found, error = mean_and_error(many_bounds(sde, lambda x, t: factor * score(x, t), x).log_prob)
    assert found < float(HIGH.data_log_prob(x)) - 4.0 * error - 0.1


def discrete_data(sde, num_levels, probabilities):
    """Independent levels in the middles of the bins of [-1, 1]: the exact score of
    their noised marginals.
    """
    atoms = jnp.asarray(-1.0 + (np.arange(num_levels) + 0.5) * (2.0 / num_levels), jnp.float32)

    def score(x, t):
        alpha, sigma = sde.marginal(t)
        distance = (x[..., None] - alpha * atoms) / sigma
        posterior = jax.nn.softmax(jnp.log(probabilities) - 0.5 * jnp.square(distance), axis=-1)
        return (alpha * posterior @ atoms - x) / jnp.square(sigma)

    return score, atoms


def test_the_decoder_of_bins_gives_the_probability_of_the_levels():
    """Levels of known probability: within 0.003 nats per dimension, and 4 standard
    errors (1 key in 16,000 fails).

    At ``t_min`` the noise is a twelfth of a bin, so that decoding costs nothing; first
    and last bins are among them.
    """
    sde, probabilities = (
        VPSDE(beta_max=30.0),
        jnp.array([0.05, 0.2, 0.1, 0.3, 0.05, 0.1, 0.15, 0.05]),
    )
    score, atoms = discrete_data(sde, 8, probabilities)
    levels = jnp.tile(jnp.arange(8), 4).reshape(2, 16)
    bounds = many_bounds(sde, score, atoms[levels], bin_width=0.25)
    found, error = mean_and_error(bounds.log_prob)
    assert abs(found - float(jnp.sum(jnp.log(probabilities[levels])))) < 4.0 * error + 0.003 * 32
    assert np.abs(bounds.reconstruction).max() < 1e-3


def test_probabilities_of_all_levels_sum_to_one():
    """Where the decoder is wider than a bin: about one mean, whatever the noise, first
    and last bins open.
    """
    alpha, sigma = marginal = VPSDE().marginal(0.3)
    score = lambda x, t: (alpha * 0.4 - x) / sigma**2  # noqa: E731

    def probability(middle):
        return jnp.exp(
            -decoding_cost(
                jax.random.key(0),
                score,
                middle[None],
                0.3,
                marginal,
                sigma / alpha,
                0.25,
                (-1.0, 1.0),
            )
        )

    found = jax.vmap(probability)(-1.0 + (jnp.arange(8) + 0.5) * 0.25)
    np.testing.assert_allclose(jnp.sum(found), 1.0, rtol=1e-5)
    assert found[0] > found[1] and found[-1] > found[-2]


@pytest.mark.slow
@pytest.mark.parametrize("bin_width", [None, pytest.param(0.05, marks=SLOW)])
def test_the_standard_error_is_honest(bin_width):
    """Over 500 keys: from 0.9 to 2 times the standard deviation of the bounds, as neighbouring
    strata differ.

    Both standard deviations are known to 4 %.
    """
    sde, x = VPSDE(), point_of(HIGH, (64,))
    bounds = many_bounds(sde, HIGH.score_fn(sde), x, 500, num_decodings=8, bin_width=bin_width)
    stated = np.sqrt(np.mean(np.square(np.asarray(bounds.std_error, np.float64))))
    assert 0.9 < stated / np.std(np.asarray(bounds.log_prob, np.float64)) < 2.0


def test_a_single_draw_has_no_standard_error():
    def bound(draws, decodings):
        return bound_of(
            jnp.zeros(()), jnp.ones(draws), jnp.ones(draws), jnp.ones(decodings)
        ).std_error

    assert np.isnan(bound(1, 3)) and np.isnan(bound(3, 1)) and float(bound(2, 2)) == 0.0


def test_the_standard_error_by_hand():
    """Half the weights, and half the squares of differences: ``(2^2 2 + 1^2 (2 + 8) / 2
    + 8) / 4`` and ``2 / 2``.
    """
    bound = bound_of(
        jnp.ones(()),
        jnp.array([2.0, 1.0, 1.0]),
        jnp.array([1.0, 3.0, 7.0]),
        jnp.array([1.0, 3.0]),
        5.0,
    )
    np.testing.assert_allclose(
        bound, (-(1.0 + 11.0 + 2.0), np.sqrt(21.0 / 4.0 + 1.0), 1.0, 11.0, 2.0), rtol=1e-6
    )


def test_the_residual_is_unbiased_and_varies_less_at_small_noise():
    """Against ``|sigma s + eps|^2`` itself over 4,000 noises, within 5 standard errors
    (1 key in 1,000,000 fails).
    """
    sde, x = VPSDE(), point_of(HIGH, (64,))
    score = HIGH.score_fn(sde)

    def plain(key, t):
        noise = jax.random.normal(key, x.shape)
        alpha, sigma = sde.marginal(t)
        return jnp.sum(jnp.square(sigma * score(alpha * x + sigma * noise, t) + noise))

    both = lambda key, t: (plain(key, t), noise_residual(key, score, x, t, sde.marginal(t)))  # noqa: E731
    for t in (0.001, 0.3, 0.9):
        direct, reduced = (
            np.asarray(part, np.float64)
            for part in jax.jit(jax.vmap(both, (0, None)))(keys(2, 4000), t)
        )
        assert abs(np.mean(direct - reduced)) < 5.0 * np.std(direct - reduced) / np.sqrt(4000)
        assert t > 0.001 or reduced.std() < 0.1 * direct.std()


@pytest.mark.slow
def test_chunks_and_gradients():
    sde, x = VPSDE(), point_of(HIGH, (64,))
    score = HIGH.score_fn(sde)

    def bound(factor, chunk_size):
        options = {"num_times": 10, "chunk_size": chunk_size}
        return variational_bound(
            jax.random.key(0), sde, lambda x, t: factor * score(x, t), x, **options
        ).log_prob

    gradient = jax.jit(jax.value_and_grad(bound), static_argnums=1)
    np.testing.assert_allclose(gradient(1.1, 3), gradient(1.1, None), rtol=1e-4)
    assert gradient(1.2, 3)[1] < 0.0 < gradient(0.8, 3)[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_times": 0}, "num_times=0 must be at least 1"),
        ({"num_decodings": 0}, "num_decodings=0 must be at least 1"),
        ({"chunk_size": 0}, "chunk_size=0 must be at least 1, or None for all at once"),
    ],
)
def test_wrong_options_are_refused_in_one_line(options, message):
    with pytest.raises(ValueError, match=message) as error:
        variational_bound(jax.random.key(0), VPSDE(), lambda x, t: -x, jnp.ones(2), **options)
    assert "\n" not in str(error.value)
