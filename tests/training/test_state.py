import jax
import jax.numpy as jnp
import numpy as np
import optax

from score_sde.training import init_state


def test_starts_at_step_zero_with_the_average_at_the_parameters(toy):
    state = toy.state()
    assert state.step.dtype == jnp.int32 and state.step == 0
    for mean, param in zip(
        jax.tree.leaves(state.ema_params), jax.tree.leaves(toy.params()), strict=True
    ):
        np.testing.assert_array_equal(mean, param)


def test_further_averages_start_at_the_parameters_in_arrays_of_their_own():
    params = {"w": jnp.arange(3.0)}
    state = init_state(params, optax.sgd(0.1), num_averages=2)
    assert len(state.averages) == 2 and init_state(params, optax.sgd(0.1)).averages == ()
    jax.block_until_ready(
        jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)(state)
    )
    assert all(average["w"].is_deleted() for average in state.averages)
    np.testing.assert_array_equal(params["w"], [0.0, 1.0, 2.0])


def test_donating_the_state_leaves_the_callers_parameters_alone():
    params = {"w": jnp.arange(3.0)}
    state = init_state(params, optax.sgd(0.1))
    jax.block_until_ready(
        jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)(state)
    )
    assert state.params["w"].is_deleted() and state.ema_params["w"].is_deleted()
    np.testing.assert_array_equal(params["w"], [0.0, 1.0, 2.0])
