"""Batches and states on a mesh of devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from score_sde.training import (
    check_batch_size,
    compile_eval_step,
    compile_step,
    compile_steps,
    device_mesh,
    place,
    shard_batch,
    step_axes,
)
from score_sde.training.mesh import shard_batches


def test_mesh_is_over_all_devices_unless_some_are_given():
    assert device_mesh().size == len(jax.local_devices())
    assert list(device_mesh(jax.devices()[2:4]).devices) == jax.devices()[2:4]


def test_batch_is_split_and_keeps_its_order(toy):
    batch = toy.loader.batch(0)
    sharded = shard_batch(device_mesh(), batch)
    assert [shard.data.shape for shard in sharded.x.addressable_shards] == [(1, 3)] * 8
    np.testing.assert_array_equal(sharded.x, batch.x)
    np.testing.assert_array_equal(sharded.index, batch.index)


@pytest.mark.parametrize(("size", "advice"), [(20, "take 16 or 24"), (7, "take 8"), (0, "take 8")])
def test_a_batch_that_cannot_be_split_evenly_is_an_error_that_suggests_sizes(size, advice):
    with pytest.raises(
        ValueError, match=f"^batch_size={size} must be .* split evenly over 8 devices: {advice}"
    ):
        check_batch_size(device_mesh(), size)


def test_replica_survives_the_donation_of_its_source_and_the_other_way_round():
    mesh, source = device_mesh(), {"w": jnp.arange(4.0)}
    replica = place(mesh, source)
    bump = jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)
    jax.block_until_ready(bump(replica))
    assert replica["w"].is_deleted()
    np.testing.assert_array_equal(source["w"], np.arange(4.0))
    replica = place(mesh, source)
    jax.block_until_ready(bump(source))
    np.testing.assert_array_equal(replica["w"], np.arange(4.0))
    assert len(replica["w"].sharding.device_set) == 8


def test_compiled_step_donates_its_state_and_takes_plain_batches(toy):
    mesh = device_mesh()
    state = place(mesh, toy.state())
    new, _ = compile_step(toy.step(), mesh, toy.state())(state, toy.loader.batch(0), toy.key)
    assert state.params["b"].is_deleted()
    metrics = compile_eval_step(toy.eval_step(), mesh, toy.state())(
        new, toy.held_out.batch(0), toy.key
    )
    assert not new.params["b"].is_deleted()
    assert np.isfinite(metrics["loss"])


def test_one_sum_over_the_devices_takes_all_of_a_step(toy):
    """Each takes milliseconds between processes on CPUs, where the compiler joins none."""
    mesh, batch = device_mesh(), toy.loader.batch(0)
    state, axes = place(mesh, toy.state()), step_axes(mesh)
    step = compile_step(toy.step(axes), mesh, state)
    assert step.lower(state, batch, toy.key).compile().as_text().count(" all-reduce(") == 1


def test_a_step_over_other_axes_is_an_error(toy):
    message = r"^axis_name='data' must be one of None, \('data', 'fsdp'\), the axes of the mesh"
    with pytest.raises(ValueError, match=message):
        compile_step(toy.step("data"), device_mesh(), toy.state())


def test_each_device_takes_its_own_rows_unless_the_state_is_split():
    assert step_axes(device_mesh()) == ("data", "fsdp")
    assert (
        step_axes(device_mesh(fsdp=2)) is None and step_axes(device_mesh(jax.devices()[:1])) is None
    )


def test_a_dispatch_of_one_step_has_no_loop(toy):
    """In a loop, the gradient of a convolution takes many times as long on a CPU."""
    mesh, batch = device_mesh(), toy.loader.batch(0)
    state = place(mesh, toy.state())
    one = compile_step(toy.step(), mesh, state).lower(state, batch, toy.key).as_text()
    several = (
        compile_steps(toy.step(), mesh, state)
        .lower(state, shard_batches(mesh, [batch]), toy.key)
        .as_text()
    )
    assert several.count("stablehlo.while") == one.count("stablehlo.while")
