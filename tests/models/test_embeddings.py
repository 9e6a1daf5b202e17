"""Embeddings of time and label."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from score_sde.models.embeddings import ConditionEmbedding, FourierEmbedding, positional_embedding

QUICK_KEY = jax.random.key(0, impl="unsafe_rbg")
"""A key of the generator that compiles quickest, where any numbers will do."""


def test_positional_embedding_is_sines_and_cosines_of_falling_frequencies():
    t = jnp.array([0.0, 0.5, 999.0])
    frequencies = np.array([1.0, 10_000.0 ** (-1 / 3), 10_000.0 ** (-2 / 3), 1e-4])
    angles = np.asarray(t)[:, None] * frequencies
    expected = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    np.testing.assert_allclose(positional_embedding(t, 8), expected, atol=2e-4)


def test_fourier_embedding_has_the_kernel_of_its_scale():
    """The mean of cos(2 pi w d) over w ~ N(0, scale^2) is exp(-2 (pi scale d)^2).

    4096 frequencies: a standard error below 0.011, and a band of five of them (a fixed
    seed; by chance 6e-7).
    """
    module = FourierEmbedding(dim=8192, scale=2.0)
    t = jnp.array([0.0, 0.05, 0.3])
    features = module.apply(jax.jit(module.init)(QUICK_KEY, t), t)
    kernel = features @ features.T / 4096
    distance = np.asarray(t)[:, None] - np.asarray(t)[None, :]
    np.testing.assert_allclose(kernel, np.exp(-2 * (np.pi * 2.0 * distance) ** 2), atol=0.055)


def test_no_gradient_reaches_the_fourier_frequencies():
    module = FourierEmbedding(dim=8)
    t = jnp.array([0.3])
    variables = jax.jit(module.init)(QUICK_KEY, t)
    gradient = jax.grad(lambda variables: jnp.sum(module.apply(variables, t) ** 3))(variables)
    np.testing.assert_array_equal(gradient["params"]["frequencies"], np.zeros(4))


def test_the_embedding_is_computed_in_float32_whatever_the_label():
    """In bfloat16 the labels 998 and 999 would be one."""
    module = ConditionEmbedding(dim=8, features=8, dtype=jnp.bfloat16)
    t = jnp.array([998.0, 999.0])
    condition = module.apply(jax.jit(module.init)(QUICK_KEY, t), t)
    assert condition.dtype == jnp.bfloat16
    assert bool(jnp.any(condition[0] != condition[1]))


@pytest.mark.parametrize("embedding", ["positional", "fourier"])
def test_label_adds_its_row_of_the_table(embedding):
    module = ConditionEmbedding(dim=6, features=4, embedding=embedding, num_classes=3)
    t = jnp.array([1.0, 2.0, 3.0])
    label = jnp.array([2, 0, 3])
    variables = jax.jit(module.init)(QUICK_KEY, t, label)
    table = variables["params"]["label"]["kernel"]
    assert table.shape == (3, 6)
    added = module.apply(variables, t, label) - module.apply(variables, t)
    np.testing.assert_allclose(added, jnp.stack([table[2], table[0], jnp.zeros(6)]), atol=1e-6)
