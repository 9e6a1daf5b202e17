"""Embeddings of time and label."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from score_sde.models.embeddings import ConditionEmbedding, FourierEmbedding, positional_embedding

QUICK_KEY = jax.random.key(0, impl="unsafe_rbg")
"""A key of the generator that compiles fastest, for arbitrary numbers."""


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
    """In bfloat16 the labels 998 and 999 are equal."""
    module = ConditionEmbedding(dim=8, features=8, dtype=jnp.bfloat16)
    t = jnp.array([998.0, 999.0])
    condition = module.apply(jax.jit(module.init)(QUICK_KEY, t), t)
    assert condition.dtype == jnp.bfloat16
    assert bool(jnp.any(condition[0] != condition[1]))


@pytest.mark.parametrize("embedding", ["positional", "fourier"])
def test_a_class_adds_its_row_of_the_table_and_an_absent_one_nothing(embedding):
    """An absent label may have any value; a present one out of range gives NaN, in its
    row alone.
    """
    module = ConditionEmbedding(dim=6, features=4, embedding=embedding, num_classes=3)
    t = jnp.linspace(1.0, 3.0, 6)
    label = jnp.array([2, 0, 1, 7, 3, -1])
    present = jnp.array([True, True, False, False, True, True])
    variables = jax.jit(module.init)(QUICK_KEY, t, label)
    table = variables["params"]["label"]["kernel"]
    assert table.shape == (3, 6)
    apply = jax.jit(module.apply)
    embedded, of_time = apply(variables, t, label, present), apply(variables, t)
    np.testing.assert_array_equal(embedded[2:4], of_time[2:4])
    np.testing.assert_allclose(embedded[:2] - of_time[:2], table[np.array([2, 0])], atol=1e-6)
    assert np.isnan(embedded[4:]).all()
    np.testing.assert_array_equal(apply(variables, t, label)[:2], embedded[:2])


def test_an_absent_label_of_any_value_leaves_the_gradients_finite():
    module = ConditionEmbedding(dim=6, features=4, num_classes=3)
    t, label, present = jnp.ones(2), jnp.array([1, 9]), jnp.array([True, False])
    variables = jax.jit(module.init)(QUICK_KEY, t, label)
    gradient = jax.grad(lambda v: jnp.sum(module.apply(v, t, label, present) ** 2))(variables)
    rows = np.abs(gradient["params"]["label"]["kernel"]).sum(axis=1)
    assert rows[1] > 0.0 and rows[0] == rows[2] == 0.0


def test_labels_of_a_narrow_type_count_all_classes():
    """In uint8, class 259 is class 3."""
    module = ConditionEmbedding(dim=6, features=4, num_classes=300)
    t, label = jnp.ones(1), jnp.array([3])
    variables = jax.jit(module.init)(QUICK_KEY, t, label)
    np.testing.assert_array_equal(
        module.apply(variables, t, label.astype(jnp.uint8)), module.apply(variables, t, label)
    )
