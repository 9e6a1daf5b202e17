"""The coupling flow: invertible, conditioned on the image, with the right determinant."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from score_sde.models import coupling_flow
from score_sde.models.coupling_flow import MAX_LOG_SCALE, checkerboard

SHAPE = (4, 2, 3)
FLOW = coupling_flow(SHAPE, channels=4, num_couplings=3, num_blocks=1)


@pytest.fixture(scope="module")
def params():
    """Random parameters, since a new flow is the identity."""
    leaves, tree = jax.tree.flatten(FLOW.init(jax.random.key(0)))
    rng = np.random.default_rng(1)
    return tree.unflatten([0.3 * rng.standard_normal(leaf.shape, np.float32) for leaf in leaves])


def arrays(seed, count=2):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((count, *SHAPE), np.float32))


def test_a_new_flow_is_the_identity():
    noise = arrays(0)
    z, log_det = FLOW.apply(FLOW.init(jax.random.key(0)), noise, arrays(1))
    np.testing.assert_array_equal(z, noise)
    np.testing.assert_array_equal(log_det, np.zeros(2))


def test_the_logarithm_is_of_the_determinant_of_the_jacobian(params):
    """The determinant is not zero, so that the map is locally invertible."""
    noise, image = arrays(2), arrays(3)
    z, log_det = jax.jit(FLOW.apply)(params, noise, image)
    flat = lambda v, image: FLOW.apply(params, v.reshape(1, *SHAPE), image[None])[0].ravel()  # noqa: E731
    jacobians = jax.vmap(jax.jacfwd(flat))(noise.reshape(2, -1), image)
    signs, logs = np.linalg.slogdet(np.asarray(jacobians, np.float64))
    np.testing.assert_allclose(log_det, logs, atol=1e-3)
    assert (signs == 1.0).all() and np.abs(log_det).min() > 0.1
    # Every number depends on others and on the image.
    assert (np.count_nonzero(np.abs(jacobians) > 1e-6, axis=-1) > 1).any()
    assert np.abs(np.asarray(FLOW.apply(params, noise, image + 1.0)[0] - z)).max() > 1e-2


def test_scales_are_bounded(params):
    """Of three couplings, at most two change a number."""
    huge = jax.tree.map(lambda leaf: 1e3 * leaf, params)
    _, log_det = FLOW.apply(huge, arrays(4), arrays(5))
    assert np.isfinite(log_det).all() and np.abs(log_det).max() <= 2 * MAX_LOG_SCALE * np.prod(
        SHAPE
    )


def test_the_two_colours_of_the_checkerboard_are_complements():
    even, odd = checkerboard(SHAPE, 0), checkerboard(SHAPE, 1)
    assert (even ^ odd).all() and even[0, 0, 0] and even[1, 1, 0] and odd[0, 1, 0] and odd[0, 0, 1]


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((2,), {}, "the coupling flow takes images"),
        (SHAPE, {"num_couplings": 1}, "^num_couplings=1 must be at least 2$"),
        (SHAPE, {"channels": 0}, "^channels=0 must be at least 1$"),
        (SHAPE, {"dtype": "int8"}, "^dtype='int8' must be one of float32"),
    ],
)
def test_a_wrong_argument_is_an_error(shape, options, message):
    with pytest.raises(ValueError, match=message):
        coupling_flow(shape, **options)
