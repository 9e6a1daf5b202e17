"""The convolution with a quick kernel gradient: the same values and derivatives as XLA's, in every mode."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from score_sde.models.convolution import NHWC, conv_general_dilated, conv_same

SIZES = [(6, 5, 3, 3), (4, 7, 5, 3), (5, 4, 1, 3), (2, 2, 3, 3), (1, 1, 3, 3)]
"""Height, width, and those of the kernel."""


def reference(x, kernel):
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=NHWC)


def inputs(h, w, m, n):
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = ((3, h, w, 4), (m, n, 4, 2), (3, h, w, 4), (m, n, 4, 2))
    return [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]


def close(one, two):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), one, two)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_values_and_derivatives_are_those_of_the_plain_convolution(size):
    x, kernel, dx, dkernel = inputs(*size)

    def everything(conv):
        y, dy = jax.jvp(conv, (x, kernel), (dx, dkernel))
        _, pullback = jax.vjp(conv, x, kernel)
        only_x = jax.jvp(lambda x: conv(x, kernel), (x,), (dx,))[1]
        return y, dy, pullback(jnp.cos(y)), only_x

    close(jax.jit(lambda: everything(conv_same))(), jax.jit(lambda: everything(reference))())


def test_the_gradient_of_a_mean_over_a_mapped_batch_of_ones():
    x, kernel, _, _ = inputs(6, 5, 3, 3)

    def loss(conv):
        return lambda kernel: jnp.mean(jax.vmap(lambda x: jnp.sum(jnp.sin(conv(x[None], kernel))))(x))

    close(*(jax.jit(jax.grad(loss(conv)))(kernel) for conv in (conv_same, reference)))


def test_derivatives_of_derivatives():
    x, kernel, dx, _ = inputs(4, 4, 3, 3)

    def forms(conv):  # the gradient in the kernel of a directional derivative in x
        return jax.grad(lambda k: jnp.sum(jax.jvp(lambda x: jnp.tanh(conv(x, k)), (x,), (dx,))[1]))(kernel)

    close(jax.jit(lambda: forms(conv_same))(), jax.jit(lambda: forms(reference))())


def test_the_kernel_is_not_differentiated_where_it_is_not_asked_for():
    x, kernel, dx, dkernel = inputs(6, 5, 3, 3)
    count = lambda f, *args: str(jax.make_jaxpr(f)(*args)).count("conv_general_dilated[")  # noqa: E731
    in_x = lambda x, dx: jax.jvp(lambda x: conv_same(x, kernel), (x,), (dx,))  # noqa: E731
    in_both = lambda x, k, dx, dk: jax.jvp(conv_same, (x, k), (dx, dk))  # noqa: E731
    assert count(in_x, x, dx) == 2 < count(in_both, x, kernel, dx, dkernel)


@pytest.mark.parametrize(("options", "ours"), [
    ({}, True),
    ({"strides": 2}, False),
    ({"padding": "VALID"}, False),
    ({"padding": ((1, 1), (1, 1))}, True),
    ({"kernel_size": (1, 1)}, False),
    ({"kernel_size": (2, 2)}, False),
    ({"input_dilation": 2, "padding": ((2, 2), (2, 2))}, False),
    ({"kernel_dilation": 2}, False),
    ({"feature_group_count": 2}, False),
])  # fmt: skip
def test_flax_convolutions_are_unchanged(options, ours):
    x, *_ = inputs(6, 6, 3, 3)
    options = {"features": 2, "kernel_size": (3, 3), **options}
    plain, quick = nn.Conv(**options), nn.Conv(**options, conv_general_dilated=conv_general_dilated)
    params = plain.init(jax.random.key(1), x)
    close(quick.apply(params, x), plain.apply(params, x))
    assert ("custom_jvp" in str(jax.make_jaxpr(quick.apply)(params, x))) == ours
