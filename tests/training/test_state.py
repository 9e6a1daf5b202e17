"""The initial state of a run."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from score_sde.training import init_state


def test_a_run_starts_at_step_zero_with_the_average_equal_to_the_parameters(toy):
    state = toy.state()
    assert state.step.dtype == jnp.int32 and state.step == 0
    for mean, param in zip(
        jax.tree.leaves(state.ema_params), jax.tree.leaves(toy.params()), strict=True
    ):
        np.testing.assert_array_equal(mean, param)


def test_further_averages_are_copies_of_the_parameters():
    params = {"w": jnp.arange(3.0)}
    state = init_state(params, optax.sgd(0.1), num_averages=2)
    assert len(state.averages) == 2 and init_state(params, optax.sgd(0.1)).averages == ()
    jax.block_until_ready(
        jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)(state)
    )
    assert all(average["w"].is_deleted() for average in state.averages)
    np.testing.assert_array_equal(params["w"], [0.0, 1.0, 2.0])


def test_donating_the_state_does_not_delete_the_parameters_of_the_caller():
    params = {"w": jnp.arange(3.0)}
    state = init_state(params, optax.sgd(0.1))
    jax.block_until_ready(
        jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)(state)
    )
    assert state.params["w"].is_deleted() and state.ema_params["w"].is_deleted()
    np.testing.assert_array_equal(params["w"], [0.0, 1.0, 2.0])
