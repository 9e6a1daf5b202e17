"""The likelihood of a whole data set: every example once, in order, against densities in closed form."""

import jax
import numpy as np
import pytest

from score_sde import VPSDE, ExactTrace, Hutchinson
from score_sde.data import Scaling
from score_sde.evaluation.likelihoods import Likelihoods, evaluate_range, make_evaluate

SDE, KEY, VARIANCE = VPSDE(), jax.random.key(1), 0.25


def score_fn_of(params):
    """The score of ``N(0, VARIANCE)`` carried by the SDE."""

    def score_fn(x, t):
        alpha, sigma = SDE.marginal(t)
        return -x / (alpha**2 * params + sigma**2)

    return score_fn


PARAMS = np.float32(VARIANCE)


def evaluate(scaling, divergence):
    return make_evaluate(SDE, score_fn_of, scaling, divergence=divergence, rtol=1e-5, atol=1e-5, t_min=1e-5)


def everything(evaluate, examples, scaling, batch_size):
    ranges = (range(i, min(i + batch_size, len(examples))) for i in range(0, len(examples), batch_size))
    batches = (evaluate_range(evaluate, PARAMS, KEY, examples, scaling, part, batch_size) for part in ranges)
    return Likelihoods.concatenated(batch._asdict() for batch in batches)


@pytest.fixture(scope="module")
def points():
    return np.random.default_rng(0).normal(scale=0.5, size=(21, 2)).astype(np.float32)


def log_density(x):
    return -0.5 * (x**2 / VARIANCE + np.log(2 * np.pi * VARIANCE)).sum(axis=tuple(range(1, x.ndim)))


@pytest.mark.parametrize("batch_size", [21, 8, 5, 1])
def test_every_point_is_counted_once_and_has_its_density(batch_size, points):
    scaling = Scaling(num_levels=None)
    found = everything(evaluate(scaling, ExactTrace()), points, scaling, batch_size)
    np.testing.assert_allclose(found.log_prob, log_density(points), atol=2e-3)
    assert np.isnan(found.bits_per_dim).all() and (found.std_error == 0).all() and (found.nfe > 6).all()


def test_a_point_depends_on_its_index_and_not_on_its_batch(points):
    scaling = Scaling(num_levels=None)
    hutchinson = evaluate(scaling, Hutchinson(num_probes=2))
    whole, split = (everything(hutchinson, points, scaling, size) for size in (21, 4))
    np.testing.assert_allclose(whole.log_prob, split.log_prob, rtol=1e-4)
    np.testing.assert_allclose(whole.std_error, split.std_error, rtol=1e-2, atol=1e-5)


def test_the_bits_of_an_image_are_those_of_its_dequantised_levels():
    scaling = Scaling(num_levels=16)
    images = np.random.default_rng(0).integers(0, 16, size=(5, 4, 4, 1)).astype(np.uint8)
    found = everything(evaluate(scaling, ExactTrace()), images, scaling, 3)
    for i, image in enumerate(images):
        data_key, _ = jax.random.split(jax.random.fold_in(KEY, i))
        log_prob = log_density(np.asarray(scaling.to_model(data_key, image))[None])[0]
        np.testing.assert_allclose(found.log_prob[i], log_prob, atol=2e-2)
        wanted = -(log_prob / 16 + np.log(2 / 16)) / np.log(2)
        np.testing.assert_allclose(found.bits_per_dim[i], wanted, atol=2e-3)
