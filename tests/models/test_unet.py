"""The U-Net."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from score_sde.models import unet

QUICK_KEY = jax.random.key(0, impl="unsafe_rbg")
"""A key of the generator that compiles fastest, for arbitrary numbers."""


def abstract_params(network):
    return jax.eval_shape(network.init, jax.random.key(0))


def randomized(network):
    """Parameters without the zeros of initialisation; nothing is compiled."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.2 * rng.standard_normal(leaf.shape), leaf.dtype),
        abstract_params(network),
    )


@pytest.mark.parametrize(
    "shape, kwargs",
    [
        ((4, 8, 3), {"channels": 8, "channel_mult": [1, 2, 2], "attention_resolutions": [2]}),
        ((5, 5, 2), {"channels": 4, "channel_mult": (1,), "num_res_blocks": 2}),
        (
            (8, 8, 1),
            {
                "channels": 8,
                "embedding": "fourier",
                "num_classes": 10,
                "dropout": 0.1,
                "activation": "gelu",
            },
        ),
    ],
)
def test_an_image_keeps_its_shape(shape, kwargs):
    network = unet(shape, **kwargs)
    x, t = jnp.ones((2, *shape)), jnp.array([0.0, 999.0])
    assert jax.eval_shape(network.apply, abstract_params(network), x, t).shape == x.shape


def test_the_network_starts_at_zero():
    network = unet((4, 4, 1), channels=4, channel_mult=(1,))
    params = jax.jit(network.init)(QUICK_KEY)
    np.testing.assert_array_equal(
        network.apply(params, jnp.ones((1, 4, 4, 1)), jnp.ones(1)), np.zeros((1, 4, 4, 1))
    )


def test_the_default_for_digits_has_half_a_million_parameters():
    assert sum(leaf.size for leaf in jax.tree.leaves(abstract_params(unet((8, 8, 1))))) == 497_217


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_parameters_are_float32_and_the_output_has_the_type_of_the_input(dtype):
    network = unet((4, 4, 1), channels=8, dtype=dtype)
    params = abstract_params(network)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert (
        jax.eval_shape(network.apply, params, jnp.ones((1, 4, 4, 1)), jnp.ones(1)).dtype
        == jnp.float32
    )


@pytest.mark.slow
def test_every_parameter_gets_a_gradient():
    """Away from the zeros of initialisation, the loss depends on every parameter."""
    network = unet((4, 4, 1), channels=4, attention_resolutions=(2,), num_classes=2)
    params = randomized(network)
    x = jax.random.normal(jax.random.key(2), (4, 4, 4, 1))
    label = jnp.array([0, 1, 0, 1])

    @jax.jit
    def gradient(params):
        def loss(params):
            return jnp.mean((network.apply(params, x, jnp.arange(4.0), condition=label) - x) ** 2)

        return jax.grad(loss)(params)

    dead = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(params))
        if not bool(jnp.any(jnp.abs(leaf) > 1e-8))
    ]
    assert dead == []


def test_attention_is_at_the_chosen_resolutions():
    def attention_blocks(**kwargs):
        params = abstract_params(unet((8, 8, 1), channels=8, **kwargs))
        return {name for name in params if name.endswith("attention")}

    assert attention_blocks(attention_resolutions=()) == {"middle_0_attention"}
    with_four = attention_blocks(attention_resolutions=(4,))
    assert with_four == {"middle_0_attention", "down_1_0_attention", "up_1_0_attention"}
    assert attention_blocks(attention_resolutions=(4, 16)) == with_four


def test_far_pixels_reach_one_another():
    """A change of one corner changes the opposite corner, through the low resolution and
    the attention.
    """
    network = unet((8, 8, 1), channels=4)
    params = randomized(network)
    x = jnp.zeros((2, 8, 8, 1)).at[1, 0, 0, 0].set(3.0)
    out = jax.jit(network.apply)(params, x, jnp.zeros(2))
    assert float(jnp.abs(out[0, 7, 7] - out[1, 7, 7]).max()) > 1e-5


@pytest.mark.parametrize(
    "shape, kwargs, message",
    [
        (
            (2,),
            {},
            r"images of shape \(height, width, channels\), got data of shape \(2,\); an MLP takes "
            r"vectors",
        ),
        ((7, 8, 1), {}, "of 2 levels .* divisible by 2, got 7 x 8"),
        ((28, 28, 1), {"channel_mult": (1, 2, 2, 2)}, "of 4 levels .* divisible by 8, got 28 x 28"),
        ((8, 8, 1), {"channels": 5}, "^channels=5 must be even$"),
        ((8, 8, 1), {"channels": 0}, "^channels=0 must be at least 4$"),
        ((8, 8, 1), {"channel_mult": []}, r"^channel_mult=\[\] must have at least one number$"),
        (
            (8, 8, 1),
            {"channel_mult": (1, -2)},
            r"^channel_mult\[1\]=-2 must be at least 1$",
        ),
        (
            (8, 8, 1),
            {"num_res_blocks": 0},
            "^num_res_blocks=0 must be at least 1$",
        ),
        (
            (8, 8, 1),
            {"attention_resolutions": (0,)},
            r"^attention_resolutions\[0\]=0 must be at least 1$",
        ),
        (
            (8, 8, 1),
            {"embedding": "sin"},
            "^embedding='sin' must be one of positional, fourier$",
        ),
        ((8, 8, 1), {"dropout": -0.1}, "^dropout=-0.1 must be at least 0 and less than 1$"),
        ((8, 8, 1), {"dtype": "float"}, "^dtype='float' must be one of float32, "),
    ],
)
def test_a_wrong_argument_is_an_error_of_one_line(shape, kwargs, message):
    with pytest.raises(ValueError, match=message) as error:
        unet(shape, **kwargs)
    assert "\n" not in str(error.value)
