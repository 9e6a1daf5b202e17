"""Thresholds keep the denoised image in range."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import PLANE

from score_sde.sampling import DynamicThreshold, EulerMaruyama, StaticThreshold, sample, thresholded
from score_sde.sdes import VPSDE
from score_sde.sdes.reverse import denoise


def test_a_static_threshold_cuts():
    np.testing.assert_allclose(StaticThreshold()(jnp.array([-2.0, 0.3, 1.5])), [-1.0, 0.3, 1.0])
    np.testing.assert_allclose(StaticThreshold(low=0.0)(jnp.array([-2.0, 0.3])), [0.0, 0.3])


def test_a_dynamic_threshold_cuts_at_a_quantile_and_scales_back():
    """Saharia et al. 2022: at the quantile ``q`` of ``|D|`` if it exceeds the limit,
    and divided by it.
    """
    x = jnp.linspace(-4.0, 4.0, 101)
    q = float(jnp.quantile(jnp.abs(x), 0.9))
    np.testing.assert_allclose(DynamicThreshold(quantile=0.9)(x), np.clip(x, -q, q) / q, rtol=1e-6)
    np.testing.assert_allclose(DynamicThreshold()(x / 10.0), x / 10.0, rtol=1e-6)


def test_the_thresholded_score_denoises_to_the_thresholded_image():
    """``(alpha D - x) / sigma^2``: denoising with it gives the cut image; a wide
    threshold changes nothing.
    """
    sde, x = VPSDE(), jnp.array([3.0, -0.2])
    score, limit = PLANE.score_fn(sde), StaticThreshold(low=-0.5, high=0.5)
    plain, cut = denoise(sde, score, x, 0.3), denoise(sde, thresholded(sde, score, limit), x, 0.3)
    np.testing.assert_allclose(cut, np.clip(plain, -0.5, 0.5), rtol=1e-4, atol=1e-5)
    wide = thresholded(sde, score, StaticThreshold(low=-9.0, high=9.0))
    np.testing.assert_allclose(wide(x, 0.3), score(x, 0.3), rtol=1e-3)


def test_samples_with_a_threshold_are_in_range():
    sde = VPSDE()

    def draw(key, threshold):
        return sample(
            key, sde, PLANE.score_fn(sde), EulerMaruyama(num_steps=30), (2,), threshold=threshold
        ).x

    keys = jax.random.split(jax.random.key(0), 64)
    limited = jax.jit(jax.vmap(lambda key: draw(key, StaticThreshold(low=-0.7, high=0.7))))(keys)
    assert np.abs(limited).max() <= 0.7 + 1e-4
    assert np.abs(jax.jit(jax.vmap(lambda key: draw(key, None)))(keys)).max() > 1.5


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (StaticThreshold, {"low": 1.0}, "low=1.0 must be less than high=1.0"),
        (DynamicThreshold, {"quantile": 1.0}, "quantile=1.0 must be less than 1"),
        (DynamicThreshold, {"limit": 0.0}, "limit=0.0 must be positive"),
    ],
)
def test_wrong_thresholds_are_refused_in_one_line(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)
