"""The multilayer perceptron."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from score_sde.models import mlp

QUICK_KEY = jax.random.key(0, impl="unsafe_rbg")
"""A key of the generator that compiles fastest, for arbitrary numbers."""


@pytest.mark.parametrize("shape, embedding", [((2,), "positional"), ((3, 2), "fourier")])
def test_a_sample_of_any_shape_keeps_its_shape_and_the_network_starts_at_zero(shape, embedding):
    network = mlp(shape, hidden_sizes=[8, 8], embedding_dim=8, embedding=embedding)
    params = jax.jit(network.init)(QUICK_KEY)
    x = jax.random.normal(jax.random.key(1), (5, *shape))
    out = jax.jit(network.apply)(params, x, jnp.linspace(0, 999, 5))
    assert out.shape == x.shape
    np.testing.assert_array_equal(out, jnp.zeros_like(x))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_parameters_are_float32_and_the_output_has_the_type_of_the_input(dtype):
    network = mlp((2,), hidden_sizes=(8,), dtype=dtype)
    params = jax.eval_shape(network.init, jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert jax.eval_shape(network.apply, params, jnp.ones((1, 2)), jnp.ones(1)).dtype == jnp.float32


def test_hidden_sizes_set_the_parameters():
    network = mlp((2,), hidden_sizes=(8, 16), embedding_dim=4)
    params = jax.eval_shape(network.init, jax.random.key(0))
    assert params["hidden_0"]["kernel"].shape == (2, 8)
    assert params["hidden_1"]["kernel"].shape == (8, 16)
    assert params["out"]["kernel"].shape == (16, 2)


@pytest.mark.slow
def test_it_fits_a_function_of_x_and_t():
    """Regression on x sin(t) must fall from its starting value by a factor of ten in
    200 steps (a fixed seed).
    """
    network = mlp(
        (2,), hidden_sizes=(32, 32), embedding="fourier", fourier_scale=0.5, embedding_dim=16
    )
    optimizer = optax.adam(1e-2)
    key = jax.random.key(0)

    def loss(params, key):
        x = jax.random.normal(key, (64, 2))
        t = jax.random.uniform(jax.random.fold_in(key, 1), (64,), maxval=3.0)
        return jnp.mean((network.apply(params, x, t) - x * jnp.sin(t)[:, None]) ** 2)

    @jax.jit
    def fit(params):
        def step(i, carry):
            params, state = carry
            updates, state = optimizer.update(
                jax.grad(loss)(params, jax.random.fold_in(key, i)), state, params
            )
            return optax.apply_updates(params, updates), state

        return jax.lax.fori_loop(0, 200, step, (params, optimizer.init(params)))[0]

    params = jax.jit(network.init)(QUICK_KEY)
    held_out = jax.random.key(99)
    assert loss(fit(params), held_out) < 0.1 * loss(params, held_out)


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"hidden_sizes": ()}, r"^hidden_sizes=\(\) must have at least one number$"),
        (
            {"hidden_sizes": (8, 0)},
            r"^hidden_sizes\[1\]=0 must be at least 1$",
        ),
        ({"embedding_dim": 7}, "^embedding_dim=7 must be even$"),
        ({"embedding_dim": 2}, "^embedding_dim=2 must be at least 4$"),
        ({"embedding": "sine"}, "^embedding='sine' must be one of positional, fourier$"),
        ({"fourier_scale": 0.0}, "^fourier_scale=0.0 must be positive and finite$"),
        ({"activation": "swiish"}, "^activation='swiish' must be one of .*silu"),
        ({"dropout": 1.0}, "^dropout=1.0 must be at least 0 and less than 1$"),
        ({"num_classes": 0}, "^num_classes=0 must be at least 1$"),
        ({"dtype": "int8"}, "^dtype='int8' must be one of float32, "),
    ],
)
def test_a_wrong_argument_is_an_error_of_one_line(kwargs, message):
    with pytest.raises(ValueError, match=message) as error:
        mlp((2,), **kwargs)
    assert "\n" not in str(error.value)
