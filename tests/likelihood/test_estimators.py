"""Estimates of one form from the flow and from the bounds, and of discrete data from
several points.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import keys

from score_sde import VPSDE, ExactTrace, Hutchinson
from score_sde.likelihood.bound import variational_bound
from score_sde.likelihood.dequantization import Bins, UniformDequantizer
from score_sde.likelihood.discrete_bound import ddpm_vlb
from score_sde.likelihood.estimators import (
    DDPMEstimator,
    Estimator,
    FlowEstimator,
    LogProbEstimate,
    VariationalEstimator,
    dequantized,
)
from score_sde.likelihood.flow import log_likelihood
from score_sde.parameterization import DiscreteNoisePrediction, NoisePrediction, StepIndex
from score_sde.sdes import DiscreteVPSDE, Marginal
from score_sde.sdes.discretization import ddpm_marginals
from score_sde.sdes.mixture import Mixture

SDE = VPSDE(t_min=1e-4)
DATA = Mixture.from_arrays(np.random.default_rng(3).uniform(-0.5, 0.5, (1, 8)), np.array([0.5]))
SCORE = DATA.score_fn(SDE)
X = jnp.asarray(DATA.sample(jax.random.key(9), 1)[0])

ESTIMATORS = {
    "flow": FlowEstimator(divergence=ExactTrace()),
    "variational": VariationalEstimator(num_times=64),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_density_is_estimated_within_its_error(name):
    """50 keys: their mean within 4 standard errors (1 key in 16,000 fails) and 0.02
    nats/dim for prior and decoder.
    """
    estimate = lambda key: ESTIMATORS[name].density(key, SDE, SCORE, X)  # noqa: E731
    found = jax.device_get(jax.jit(jax.vmap(estimate))(keys(0, 50)))
    error = np.std(found.log_prob) / np.sqrt(50)
    assert abs(np.mean(found.log_prob) - DATA.data_log_prob(X)) < 4.0 * error + 0.02 * 8
    assert np.std(found.log_prob) <= 1.5 * np.mean(found.std_error) + 1e-6
    assert (found.nfe == 68).all() or name == "flow"
    assert np.isnan(found.solver_error).all()


def test_options_reach_the_estimator():
    key = jax.random.key(2)
    flow = FlowEstimator(
        divergence=Hutchinson(num_probes=3), rtol=1e-3, atol=1e-4, check_tolerance=True
    )
    found = jax.jit(lambda: flow.density(key, SDE, SCORE, X))()
    options = {
        "divergence": Hutchinson(num_probes=3),
        "rtol": 1e-3,
        "atol": 1e-4,
        "check_tolerance": True,
    }
    wanted = jax.jit(lambda: log_likelihood(key, SDE, SCORE, X, **options))()
    np.testing.assert_allclose(
        found, (wanted.log_prob, wanted.std_error, wanted.solver_error, wanted.nfe), rtol=1e-5
    )
    bound = VariationalEstimator(num_times=6, num_decodings=2, chunk_size=3)
    levels = jnp.arange(8)
    found = jax.jit(
        lambda: bound.probability(key, SDE, SCORE, levels, Bins(low=0.0, width=0.125), 8)
    )()
    options = {"num_times": 6, "num_decodings": 2, "bin_width": 0.125, "data_range": (0.0, 1.0)}
    wanted = jax.jit(lambda: variational_bound(key, SDE, SCORE, (levels + 0.5) / 8, **options))()
    np.testing.assert_allclose(found.log_prob, wanted.log_prob, rtol=1e-5)
    chain = DDPMEstimator(num_scales=40, num_terms=9, num_decodings=3, variance="fixedlarge")
    options = {"t_max": 1.0, "variance": "fixedlarge", "num_terms": 9, "num_decodings": 3}
    wanted = jax.jit(lambda: ddpm_vlb(key, SCORE, ddpm_marginals(40), X, **options))()
    found = jax.jit(lambda: chain.density(key, SDE, SCORE, X))()
    np.testing.assert_allclose(found.log_prob, wanted.log_prob, rtol=1e-5)
    assert found.nfe == 12


def test_the_chain_takes_the_levels_of_a_discrete_sde():
    """The bound equals the one from labels by index; an SDE of other levels is an error."""
    key, chain = jax.random.key(2), DDPMEstimator(num_scales=40, num_terms=9, num_decodings=3)
    sde = DiscreteVPSDE(num_scales=40, beta_start=0.1 / 40, beta_end=20.0 / 40, t_min=1 / 40)
    alpha, sigma = (jnp.asarray(part, jnp.float32) for part in ddpm_marginals(40))

    def by_index(x, t):
        level = jnp.rint(39 * t).astype(int)
        moved = Marginal(alpha[level], sigma[level])
        return -(x - moved.alpha) / (0.25 * jnp.square(moved.alpha) + jnp.square(moved.sigma))

    def by_time(x, t):
        moved = sde.marginal(t)
        return -(x - moved.alpha) / (0.25 * jnp.square(moved.alpha) + jnp.square(moved.sigma))

    chain.check(NoisePrediction(time_label=StepIndex(num_scales=40)))
    found = jax.jit(lambda: chain.density(key, sde, by_time, X))()
    wanted = jax.jit(
        lambda: ddpm_vlb(key, by_index, ddpm_marginals(40), X, num_terms=9, num_decodings=3)
    )()
    np.testing.assert_allclose(found.log_prob, wanted.log_prob, rtol=1e-5)
    for other in (
        replace(sde, beta_end=0.4),
        replace(sde, t_min=2 / 40),
        replace(sde, schedule="cosine"),
    ):
        with pytest.raises(
            ValueError, match=r"another noise schedule than the SDE from t_min=0\.0"
        ):
            chain.density(key, other, by_time, X)


class Noisy(Estimator):
    """A density of known errors, which grows with ``x``."""

    def density(self, key, sde, score_fn, x):
        return LogProbEstimate(jnp.sum(x), 0.1 * jnp.abs(x[0]), 0.01 * jnp.abs(x[0]), jnp.int32(7))


def test_errors_of_several_points_are_weighted_as_they_are():
    levels, bins = jnp.arange(2), Bins(low=0.0, width=4.0)
    options = {
        "estimator": Noisy(),
        "dequantizer": UniformDequantizer(),
        "bins": bins,
        "num_samples": 5,
    }
    found = dequantized(jax.random.key(4), SDE, SCORE, levels, **options)
    offsets = [
        UniformDequantizer().sample(jax.random.split(key)[0], levels).offset
        for key in jax.random.split(jax.random.key(4), 5)
    ]
    x = np.asarray([4.0 * (levels + offset) for offset in offsets], np.float64)
    weights = np.exp(x.sum(axis=1))
    shares = weights / weights.sum()
    np.testing.assert_allclose(found.log_prob, np.log(weights.mean()) + 2 * np.log(4.0), rtol=1e-5)
    np.testing.assert_allclose(
        found.std_error, np.sqrt(np.sum((shares * 0.1 * x[:, 0]) ** 2)), rtol=1e-5
    )
    np.testing.assert_allclose(found.solver_error, np.sum(shares * 0.01 * x[:, 0]), rtol=1e-5)
    assert found.nfe == 35


@pytest.mark.parametrize("other", [
    NoisePrediction(), DiscreteNoisePrediction(num_scales=100),
    DiscreteNoisePrediction(beta_max=15.0)
])  # fmt: skip
def test_the_chain_is_for_models_of_its_own_levels(other):
    DDPMEstimator().check(DiscreteNoisePrediction())
    DDPMEstimator().check(DiscreteNoisePrediction(interpolate=True))
    with pytest.raises(
        ValueError, match="the bound ddpm is for models of 1000 levels with beta_min"
    ) as error:
        DDPMEstimator().check(other)
    assert "\n" not in str(error.value)
    VariationalEstimator().check(other)


def test_the_bound_of_levels_needs_the_labels_of_the_sde():
    """Otherwise the label of the network is the index of the neighbouring level."""
    chain, counting = DDPMEstimator(), NoisePrediction(time_label=StepIndex())
    chain.check_model(DiscreteVPSDE(), counting)
    chain.check_model(SDE, DiscreteNoisePrediction())
    for sde, parameterization in ((SDE, counting), (DiscreteVPSDE(), DiscreteNoisePrediction())):
        with pytest.raises(
            ValueError, match="needs the time label step_index with the SDE discrete_vp"
        ) as error:
            chain.check_model(sde, parameterization)
        assert "\n" not in str(error.value)
        VariationalEstimator().check_model(sde, parameterization)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: VariationalEstimator(num_times=0), "num_times=0 must be at least 1"),
        (lambda: DDPMEstimator(num_terms=0), "num_terms=0 must be at least 1"),
        (
            lambda: DDPMEstimator(num_scales=50, num_terms=50),
            "num_terms=50 must be less than num_scales=50",
        ),
        (
            lambda: FlowEstimator().probability(
                jax.random.key(0), SDE, SCORE, jnp.arange(8), Bins(), 8
            ),
            "this estimates densities only: discrete data need a dequantizer",
        ),
    ],
)
def test_wrong_options_are_refused_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
