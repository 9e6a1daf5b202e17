"""The likelihood of a whole data set: every example once, in order, against densities
in closed form.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from scipy import stats

from score_sde import VPSDE, ExactTrace, Hutchinson
from score_sde.data import Scaling
from score_sde.evaluation.likelihoods import Likelihoods, evaluate_range, make_evaluate, summary
from score_sde.experiments.settings import EvaluationOptions
from score_sde.likelihood.dequantization import TruncatedNormalDequantizer
from score_sde.likelihood.estimators import (
    DDPMEstimator,
    Estimator,
    FlowEstimator,
    LogProbEstimate,
    VariationalEstimator,
)
from score_sde.parameterization import DiscreteNoisePrediction

SDE, KEY, VARIANCE = VPSDE(), jax.random.key(1), 0.25


def score_fn_of(params):
    """The score of ``N(0, VARIANCE)`` carried by the SDE."""

    def score_fn(x, t):
        alpha, sigma = SDE.marginal(t)
        return -x / (alpha**2 * params + sigma**2)

    return score_fn


PARAMS = np.float32(VARIANCE)


def evaluate(scaling, estimator, **options):
    return make_evaluate(model_of(score_fn_of, scaling, estimator, **options))


def model_of(score_fn_of, scaling, estimator, **options):
    shape = (2,) if scaling.num_levels is None else (2, 2, 1)
    evaluating = EvaluationOptions(bound=estimator, t_min=1e-5, **options)
    parts = {"scaling": scaling, "evaluating": evaluating}
    if isinstance(estimator, DDPMEstimator):  # which is for models of a chain
        parts["parameterization"] = DiscreteNoisePrediction()
    return tiny.model_of(SDE, score_fn_of, shape, **parts)


EXACT = FlowEstimator(divergence=ExactTrace())


def everything(evaluate, examples, scaling, batch_size):
    ranges = (
        range(i, min(i + batch_size, len(examples))) for i in range(0, len(examples), batch_size)
    )
    batches = (
        evaluate_range(evaluate, PARAMS, KEY, examples, scaling, part, batch_size)
        for part in ranges
    )
    return Likelihoods.concatenated(batch._asdict() for batch in batches)


@pytest.fixture(scope="module")
def points():
    return np.random.default_rng(0).normal(scale=0.5, size=(21, 2)).astype(np.float32)


def log_density(x):
    return -0.5 * (x**2 / VARIANCE + np.log(2 * np.pi * VARIANCE)).sum(axis=tuple(range(1, x.ndim)))


@pytest.mark.parametrize(
    "batch_size", [8, *(pytest.param(size, marks=pytest.mark.slow) for size in (21, 5, 1))]
)
def test_every_point_is_counted_once_and_has_its_density(batch_size, points):
    scaling = Scaling(num_levels=None)
    found = everything(evaluate(scaling, EXACT), points, scaling, batch_size)
    np.testing.assert_allclose(found.log_prob, log_density(points), atol=2e-3)
    assert (
        np.isnan(found.bits_per_dim).all()
        and (found.std_error == 0).all()
        and (found.nfe > 6).all()
    )


MEAN, STD = (50000.0, 0.001), (12000.0, 0.0001)
"""Of the columns of a table, in units that no SDE could serve as they are."""


def unit_score_fn_of(params):
    """The score of the table's columns when they are standardised: ``N(0, 1)``, which VP keeps."""
    del params
    return lambda x, t: -x


def test_the_density_of_standardised_data_is_in_their_own_units():
    table = np.random.default_rng(0).normal(MEAN, STD, (16, 2)).astype(np.float32)
    scaling = Scaling(num_levels=None, mean=MEAN, std=STD)
    evaluate = make_evaluate(model_of(unit_score_fn_of, scaling, EXACT))
    found = evaluate_range(evaluate, PARAMS, KEY, table, scaling, range(16), 16)
    np.testing.assert_allclose(
        found.log_prob, stats.norm.logpdf(table, MEAN, STD).sum(axis=1), atol=1e-3
    )


class Total(Estimator):
    """An estimator whose log density is the sum of the example."""

    def density(self, key, sde, score_fn, x):
        del key, sde, score_fn
        total = jnp.sum(x)
        return LogProbEstimate(total, total, total, jnp.asarray(1))


def test_every_estimator_works_in_model_space_and_counts_the_units():
    scaling = Scaling(num_levels=None, mean=(1.0, -1.0), std=(2.0, 3.0))
    images = np.random.default_rng(0).normal(size=(4, 3, 2, 2)).astype(np.float32)
    evaluate = make_evaluate(model_of(unit_score_fn_of, scaling, Total()))
    found = evaluate(PARAMS, jax.random.split(KEY, 4), jnp.asarray(images), None)
    total = ((images - [1.0, -1.0]) / [2.0, 3.0]).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(found.std_error, total, rtol=1e-4)
    np.testing.assert_allclose(found.log_prob, total - 6 * np.log(2.0 * 3.0), rtol=1e-4)


def test_a_point_depends_on_its_index_and_not_on_its_batch(points):
    scaling = Scaling(num_levels=None)
    hutchinson = evaluate(scaling, FlowEstimator(divergence=Hutchinson(num_probes=2)))
    whole, split = (everything(hutchinson, points, scaling, size) for size in (21, 4))
    np.testing.assert_allclose(whole.log_prob, split.log_prob, rtol=1e-4)
    np.testing.assert_allclose(whole.std_error, split.std_error, rtol=1e-2, atol=1e-5)


def probability(images, scaling):
    """The exact log probabilities of levels under the normal density."""
    borders = scaling.bins.low + scaling.bin_width * (
        images.astype(np.float64)[..., None] + np.arange(2)
    )
    mass = np.diff(stats.norm.cdf(borders / np.sqrt(VARIANCE)), axis=-1)
    return np.log(mass).sum(axis=(1, 2, 3, 4))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(4, 12, size=(6, 4, 4, 1)).astype(np.uint8)


SCALING = Scaling(num_levels=16)
"""Bins of an eighth, in which the density is nearly even."""


@pytest.mark.parametrize("options", [
    pytest.param({"estimator": EXACT}, id="flow"),
    pytest.param({"estimator": EXACT, "dequantizer": TruncatedNormalDequantizer(std=3.0)},
    id="truncated_normal"),
    pytest.param({"estimator": VariationalEstimator()}, id="bound-of-the-density"),
])  # fmt: skip
def test_bits_of_dequantised_images(options, images):
    """One point of each image, and for the bound few evaluations: within 0.2 bits of
    the exact probability.
    """
    found = everything(evaluate(SCALING, **options), images, SCALING, 4)
    np.testing.assert_allclose(found.bits_per_dim, found.log_prob / (-16 * np.log(2.0)), rtol=1e-6)
    exact = probability(images, SCALING) / (-16 * np.log(2.0))
    assert np.mean(found.bits_per_dim - exact) > -0.02
    np.testing.assert_allclose(found.bits_per_dim, exact, atol=0.2)


@pytest.mark.slow
def test_several_dequantizations_are_closer_to_the_probability(images):
    flow = FlowEstimator(divergence=ExactTrace(), check_tolerance=True)
    one, many = (
        everything(evaluate(SCALING, flow, num_dequantizations=number), images, SCALING, 4)
        for number in (1, 16)
    )
    exact = probability(images, SCALING)
    assert np.abs(many.log_prob - exact).mean() < 0.4 * np.abs(one.log_prob - exact).mean()
    assert (many.nfe > 10 * one.nfe).all()
    assert (many.solver_error < 0.1).all() and (many.std_error == 0.0).all()


@pytest.mark.parametrize("estimator", [
    VariationalEstimator(num_times=100, num_decodings=3), DDPMEstimator(num_terms=100,
    num_decodings=2)
])  # fmt: skip
def test_bounds_of_the_probability_itself(estimator, images):
    """Without a dequantizer: levels are decoded from points as narrow as the least
    noise, and so are bound to be.

    Each is below its exact probability by the logarithm of bin over point, and for the
    steps of a chain by half a nat more; within 4 standard errors and 5 %.
    """
    found = everything(evaluate(SCALING, estimator, dequantizer=None), images, SCALING, 4)
    chain = isinstance(estimator, DDPMEstimator)
    noise = 0.01 if chain else SDE.marginal(1e-5).sigma
    known = 16 * (np.log(SCALING.bin_width / (noise * np.sqrt(2 * np.pi * np.e))) + 0.5 * chain)
    gap = probability(images, SCALING) - found.log_prob
    np.testing.assert_array_less(np.abs(gap - known), 4.0 * found.std_error + 0.05 * known)
    assert (found.nfe == estimator.num_draws + estimator.num_decodings).all() and np.isnan(
        found.solver_error
    ).all()


NATS = np.array([-10.0, -20.0, -30.0])


def known(*, std_error=0.0, solver_error=np.nan, num_dims=10):
    fields = (np.full(3, std_error), np.full(3, solver_error), np.array([100, 200, 300]))
    return Likelihoods(NATS, -NATS / (num_dims * np.log(2.0)), *fields)


@pytest.mark.parametrize(
    ("found", "num_points", "text"),
    [
        (known(std_error=1.0), None, "-20.0000 ± 5.7735 nats over 3 examples, 200 evaluations"),
        (known(), 1, "2.8854 ± 0.8329 bits/dim over 3 examples, 200 evaluations"),
        (known(), 4, "2.8854 ± 0.8329 bits/dim over 3 examples, 200 evaluations"),
        (
            known(solver_error=0.01),
            1,
            "2.8854 ± 0.8329 bits/dim over 3 examples, 200 evaluations, moved by 0.0014 by the "
            "tolerance",
        ),
        (
            known(std_error=0.5),
            4,
            "2.8854 ± 0.8329 bits/dim over 3 examples, 200 evaluations, no bound, for the noise of "
            "the points makes it "
            "better by up to 0.072",
        ),
        (
            known(std_error=np.nan),
            4,
            "2.8854 ± 0.8329 bits/dim over 3 examples, 200 evaluations, no bound, for the noise of "
            "the points makes it "
            "better by an unknown amount (of a single probe no error is known)",
        ),
    ],
)
def test_the_summary_states_the_mean_its_errors_and_its_bias(found, num_points, text):
    assert summary(found, num_points) == text
