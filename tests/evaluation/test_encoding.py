"""Many examples encoded and decoded, against a flow in closed form."""

import jax
import numpy as np
import pytest
import tiny

from score_sde import VPSDE, ProbabilityFlow, log_likelihood
from score_sde.data import Scaling
from score_sde.evaluation.encoding import Encoded, in_batches, make_decode, make_encode
from score_sde.evaluation.generation import index_keys
from score_sde.experiments.settings import EvaluationOptions

SDE, KEY, VARIANCE, T_MIN = VPSDE(t_min=1e-5), jax.random.key(1), 0.25, 1e-5
FLOW = ProbabilityFlow()
PARAMS = np.float32(VARIANCE)


def score_fn_of(params):
    """The score of ``N(0, VARIANCE)`` carried by the SDE."""

    def score_fn(x, t):
        alpha, sigma = SDE.marginal(t)
        return -x / (alpha**2 * params + sigma**2)

    return score_fn


def model_of(scaling, shape):
    """A model with the tolerances of `ProbabilityFlow`."""
    evaluating = EvaluationOptions(t_min=T_MIN, rtol=FLOW.rtol, atol=FLOW.atol)
    return tiny.model_of(VPSDE(), score_fn_of, shape, scaling=scaling, evaluating=evaluating)


def std(t):
    alpha, sigma = SDE.marginal(t)
    return np.sqrt(alpha**2 * VARIANCE + sigma**2)


@pytest.fixture(scope="module")
def points():
    return np.random.default_rng(0).normal(scale=0.5, size=(21, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def encode():
    return make_encode(model_of(Scaling(num_levels=None), (2,)))


@pytest.fixture(scope="module")
def decode():
    return make_decode(model_of(Scaling(num_levels=None), (2,)))


def encoded(encode, examples, batch_size, indices=None):
    keys = index_keys(KEY, np.arange(len(examples)) if indices is None else indices)
    batches = in_batches(encode, PARAMS, [keys, examples, None], batch_size)
    return Encoded(*(np.concatenate(field) for field in zip(*batches, strict=True)))


@pytest.mark.parametrize(
    "batch_size", [8, *(pytest.param(size, marks=pytest.mark.slow) for size in (21, 5, 1))]
)
def test_every_point_has_its_latent_and_comes_back(batch_size, points, encode, decode):
    found = encoded(encode, points, batch_size)
    np.testing.assert_array_equal(found.x, points)
    np.testing.assert_allclose(
        found.latent, points * std(SDE.t_max) / std(T_MIN), rtol=1e-3, atol=5e-3
    )
    assert found.latent.dtype == np.float32
    back = list(in_batches(decode, PARAMS, [found.latent, None], batch_size))
    assert [len(batch) for batch in back][:-1] == [batch_size if batch_size < 21 else 21] * (
        len(back) - 1
    )
    np.testing.assert_allclose(np.concatenate(back), points, rtol=1e-3, atol=5e-3)


@pytest.mark.slow
def test_an_image_has_the_latent_of_its_likelihood_whatever_its_place_among_others():
    scaling = Scaling(num_levels=16)
    images = np.random.default_rng(0).integers(0, 16, size=(5, 4, 4, 1)).astype(np.uint8)
    encode = make_encode(model_of(scaling, (4, 4, 1)))
    chosen = np.array([3, 1])
    found = encoded(encode, images[chosen], 2, chosen)
    np.testing.assert_array_equal(scaling.to_data(found.x), images[chosen])
    for row, index in enumerate(chosen):
        x = scaling.to_model(jax.random.fold_in(KEY, index), images[index])
        np.testing.assert_array_equal(found.x[row], x)
        latent = log_likelihood(KEY, SDE, score_fn_of(PARAMS), x).latent
        np.testing.assert_allclose(found.latent[row], latent, atol=1e-3)
