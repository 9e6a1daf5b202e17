"""Layers against plain references."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st

from score_sde.models.layers import (
    AttentionBlock,
    GroupNorm,
    ResidualBlock,
    attend,
    default_num_groups,
    downsample,
    upsample,
)

QUICK_KEY = jax.random.key(0, impl="unsafe_rbg")
"""A key of the generator that compiles fastest, for arbitrary numbers."""


@given(st.integers(1, 600))
def test_default_groups_divide_and_follow_the_usual_rule_where_it_divides(channels):
    groups = default_num_groups(channels)
    usual = max(1, min(channels // 4, 32))
    assert channels % groups == 0
    assert groups <= usual
    assert groups == usual or channels % usual != 0


@pytest.mark.parametrize("groups, shape", [(1, (2, 3, 4, 3)), (3, (2, 1, 2, 6)), (4, (3, 5, 4))])
def test_group_norm_equals_flax(groups, shape):
    """Values, and gradients with respect to the input and the parameters."""
    channels = shape[-1]
    rng = np.random.default_rng(0)
    x, weight = (1.5 + rng.standard_normal(shape, np.float32) for _ in range(2))
    params = {name: rng.standard_normal(channels, np.float32) for name in ("scale", "bias")}

    def value_and_gradients(module):
        def loss(params, x):
            y = module.apply({"params": params}, x)
            return jnp.sum(weight * y), y

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(params, x)

    ours = value_and_gradients(GroupNorm(groups, epsilon=1e-3))
    theirs = value_and_gradients(nn.GroupNorm(groups, epsilon=1e-3))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), ours, theirs)


def test_group_norm_names_its_parameters_as_flax_and_starts_as_the_plain_norm():
    x = jnp.asarray(np.random.default_rng(0).normal(5, 2, (3, 4, 4, 16)), jnp.float32)
    variables = jax.jit(GroupNorm().init)(jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, variables) == {"params": {"scale": (16,), "bias": (16,)}}
    groups = np.asarray(jax.jit(GroupNorm().apply)(variables, x)).reshape(3, 16, 4, 4)
    np.testing.assert_allclose(groups.mean((1, 3)), np.zeros((3, 4)), atol=1e-5)
    np.testing.assert_allclose(groups.std((1, 3)), np.ones((3, 4)), rtol=1e-4)


def test_group_norm_of_bfloat16_takes_its_statistics_in_float32():
    x = (100 + jax.random.normal(jax.random.key(0), (1, 8, 8, 4))).astype(jnp.bfloat16)
    variables = GroupNorm(1).init(jax.random.key(0), x)
    wide = GroupNorm(1).apply(variables, x.astype(jnp.float32))
    narrow = GroupNorm(1, dtype=jnp.bfloat16).apply(variables, x)
    assert narrow.dtype == jnp.bfloat16
    np.testing.assert_allclose(narrow.astype(jnp.float32), wide, atol=0.02)


def test_group_norm_of_a_constant_is_finite():
    x = jnp.full((1, 4, 4, 8), 7.3)
    module = GroupNorm(2)
    variables = module.init(jax.random.key(0), x)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(module.apply(variables, x) ** 2)))(x)
    assert bool(jnp.all(jnp.isfinite(gradient)))


def test_groups_that_do_not_divide_the_channels_are_an_error():
    with pytest.raises(ValueError, match=r"^num_groups=4 must be a divisor of the 6 channels"):
        GroupNorm(4).init(jax.random.key(0), jnp.ones((1, 2, 2, 6)))


def test_attention_equals_a_sum_over_pairs():
    rng = np.random.default_rng(0)
    q, k, v = (
        rng.standard_normal(shape, np.float32) for shape in [(2, 3, 4), (2, 5, 4), (2, 5, 6)]
    )
    expected = np.zeros((2, 3, 6))
    for b in range(2):
        for i in range(3):
            logits = np.array([np.dot(q[b, i], k[b, j]) / 2.0 for j in range(5)])
            weights = np.exp(logits) / np.exp(logits).sum()
            expected[b, i] = sum(weights[j] * v[b, j] for j in range(5))
    np.testing.assert_allclose(attend(*map(jnp.asarray, (q, k, v))), expected, rtol=1e-4, atol=1e-5)


def test_attention_survives_large_logits():
    q = jnp.full((1, 2, 4), 1e4)
    assert bool(jnp.all(jnp.isfinite(attend(q, q, jnp.ones((1, 2, 3))))))


def randomized(module, *args):
    """Parameters without the zeros of initialisation; nothing is compiled."""
    rng = np.random.default_rng(0)
    abstract = jax.eval_shape(module.init, jax.random.key(0), *args)
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.3 * rng.standard_normal(leaf.shape), leaf.dtype), abstract
    )


def test_attention_block_starts_as_the_identity_and_moves_with_its_pixels():
    x = jax.random.normal(jax.random.key(0), (2, 3, 3, 8))
    module = AttentionBlock()
    apply = jax.jit(module.apply)
    variables = randomized(module, x)
    out, turned = apply(variables, x), apply(variables, jnp.flip(x, axis=1))
    started = jax.jit(lambda key: module.apply(module.init(key, x), x))(QUICK_KEY)
    np.testing.assert_array_equal(started, x)
    assert float(jnp.abs(out - x).max()) > 1e-3
    np.testing.assert_allclose(turned, jnp.flip(out, axis=1), rtol=1e-4, atol=1e-4)


def test_residual_block_starts_as_the_identity_and_depends_on_the_condition():
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 8))
    condition = jax.random.normal(jax.random.key(1), (2, 5))
    module = ResidualBlock(8)
    started = jax.jit(lambda key: module.apply(module.init(key, x, condition), x, condition))(
        QUICK_KEY
    )
    np.testing.assert_array_equal(started, x)
    apply = jax.jit(ResidualBlock(12).apply)
    variables = randomized(ResidualBlock(12), x, condition)
    told, other = apply(variables, x, condition), apply(variables, x, -condition)
    assert told.shape == (2, 4, 4, 12)
    assert float(jnp.abs(told - other).max()) > 1e-3


def test_resampling_repeats_and_averages():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(upsample(x), np.repeat(np.repeat(x, 2, axis=1), 2, axis=2))
    np.testing.assert_allclose(downsample(x)[0, :, :, 0], [[2.5, 4.5], [10.5, 12.5]])
    np.testing.assert_allclose(downsample(upsample(x)), x)
