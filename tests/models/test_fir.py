"""Resampling with a filter: an axis at a time, against the definition in two dimensions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from score_sde.models.fir import fir_downsample, fir_filter, fir_upsample

KERNELS = [(1, 3, 3, 1), (1, 1, 1, 1), (1, 2, 3, 4), (1, 2, 4, 4, 2, 1)]


def defined(x, kernel, *, up=1, down=1, pad=(0, 0), gain=1.0):
    """Insert zeros, pad, convolve with the outer product of the normalised kernel, keep
    every ``down``-th pixel.
    """
    kernel = np.outer(kernel, kernel) / np.sum(kernel) ** 2 * gain
    b, h, w, c = x.shape
    spread = np.zeros((b, h * up, w * up, c))
    spread[:, ::up, ::up] = x
    spread = np.pad(spread, ((0, 0), pad, pad, (0, 0)))
    size = len(kernel)
    flipped = kernel[::-1, ::-1]
    rows, columns = spread.shape[1] - size + 1, spread.shape[2] - size + 1
    out = sum(
        flipped[i, j] * spread[:, i : i + rows, j : j + columns]
        for i in range(size)
        for j in range(size)
    )
    return out[:, ::down, ::down]


@pytest.fixture
def x():
    return np.asarray(jax.random.normal(jax.random.key(0), (2, 8, 6, 3)))


@pytest.mark.parametrize("kernel", KERNELS)
def test_upsampling_is_its_definition(kernel, x):
    p = len(kernel) - 2
    expected = defined(x, kernel, up=2, pad=((p + 1) // 2 + 1, p // 2), gain=4.0)
    np.testing.assert_allclose(fir_upsample(jnp.asarray(x), kernel), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
def test_downsampling_is_its_definition(kernel, x):
    p = len(kernel) - 2
    expected = defined(x, kernel, down=2, pad=((p + 1) // 2, p // 2))
    np.testing.assert_allclose(
        fir_downsample(jnp.asarray(x), kernel), expected, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("kernel", KERNELS)
def test_filtering_is_its_definition(kernel, x):
    expected = defined(x, kernel, pad=(2, 1), gain=4.0)
    np.testing.assert_allclose(
        fir_filter(jnp.asarray(x), kernel, pad=(2, 1), gain=2.0), expected, rtol=1e-4, atol=1e-5
    )


def test_a_constant_is_unchanged_away_from_the_edges(x):
    one = jnp.ones((1, 8, 8, 1))
    np.testing.assert_allclose(fir_upsample(one, (1, 3, 3, 1))[0, 2:-2, 2:-2], 1.0, rtol=1e-6)
    np.testing.assert_allclose(fir_downsample(one, (1, 3, 3, 1))[0, 1:-1, 1:-1], 1.0, rtol=1e-6)
