"""Resizing agrees with TensorFlow, which made the published data, and with JAX."""

from pathlib import Path

import jax
import numpy as np
import pytest

from score_sde.data.resizing import keys_cubic, resize, resize_matrix, triangle

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "tf_resize.npz")
KERNELS = {
    "bilinear": triangle,
    "bilinear_larger": triangle,
    "bicubic": keys_cubic,
    "bicubic_larger": keys_cubic,
}
SIZES = [((140, 140), (64, 64)), ((41, 32), (16, 16)), ((5, 8), (9, 8)), ((3, 3), (1, 2))]
LEVEL = 255
"""Resized images have levels, and float32 rounds 255 by 1e-5."""


@pytest.mark.parametrize("name", KERNELS)
def test_resizing_agrees_with_tensorflow(name):
    image, result = GOLDEN[f"{name}_image"], GOLDEN[f"{name}_result"]
    found = resize(image, result.shape[:2], KERNELS[name])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found / LEVEL, result / LEVEL, atol=1e-6)


@pytest.mark.parametrize(("kernel", "method"), [(triangle, "linear"), (keys_cubic, "cubic")])
@pytest.mark.parametrize(
    ("old", "new"),
    [((140, 140), (64, 64)), ((41, 32), (16, 16)), ((5, 8), (9, 8)), ((3, 3), (1, 2))],
)
def test_resizing_agrees_with_jax(kernel, method, old, new):
    image = np.random.default_rng(0).uniform(size=(*old, 3)).astype(np.float32)
    with jax.numpy_rank_promotion("allow"):
        expected = jax.image.resize(image, (*new, 3), method, antialias=True)
    np.testing.assert_allclose(resize(image, new, kernel), expected, atol=1e-5)


def test_halving_by_hand():
    """Output pixel 1 of 4 lies at 3 in 8: distances 1.5, 0.5, 0.5, 1.5 of width 2 weigh
    1, 3, 3, 1 of 8.
    """
    np.testing.assert_allclose(resize_matrix(8, 4)[1], np.array([0, 1, 3, 3, 1, 0, 0, 0]) / 8)
    np.testing.assert_allclose(resize_matrix(8, 4)[0], np.array([3, 3, 1, 0, 0, 0, 0, 0]) / 7)


@pytest.mark.parametrize("kernel", [triangle, keys_cubic])
def test_the_same_size_is_the_same_image(kernel):
    np.testing.assert_array_equal(resize_matrix(7, 7, kernel), np.eye(7))


@pytest.mark.parametrize("kernel", [triangle, keys_cubic])
@pytest.mark.parametrize(("old", "new"), [(9, 4), (4, 9)])
def test_the_weights_of_each_output_pixel_sum_to_one(kernel, old, new):
    np.testing.assert_allclose(resize_matrix(old, new, kernel).sum(axis=1), 1.0)
