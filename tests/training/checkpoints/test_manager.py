"""Checkpoints restore every bit on any devices, and are whole or missing."""

import logging
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from score_sde.training import (
    Checkpoints,
    compile_step,
    device_mesh,
    place,
    restore_for_sampling,
    shard_batch,
)

CONFIG = {
    "sde": {"name": "vp", "beta_min": 0.1},
    "training": {"num_steps": 3},
    "shape": [8, 8, 1],
    "path": None,
}


@pytest.fixture(scope="module")
def state(toy):
    """A state after two steps, on eight devices."""
    mesh = device_mesh()
    step, state = compile_step(toy.step(), mesh, toy.state()), place(mesh, toy.state())
    for n in range(2):
        state, _ = step(state, shard_batch(mesh, toy.loader.batch(n)), toy.key)
    return state


def at_step(state, step):
    return state._replace(step=jnp.int32(step))


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def test_restores_every_bit_and_every_sharding(tmp_path, state):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, config=CONFIG)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step() == 2
        found = checkpoints.restore(state)
    assert_same(found, state)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(state), strict=True):
        assert ours.sharding.is_equivalent_to(theirs.sharding, ours.ndim)


def test_frozen_parameters_are_not_saved_and_those_of_the_target_stay(tmp_path, state):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state._replace(frozen={"w": jnp.ones(2)}), config=CONFIG)
        found = checkpoints.restore(state._replace(frozen={"w": jnp.zeros(2)}))
    assert_same(found, state._replace(frozen={"w": jnp.zeros(2)}))
    assert_same(restore_for_sampling(tmp_path).ema_params, jax.device_get(state.ema_params))


def test_restores_on_other_devices_from_an_abstract_target(tmp_path, state, toy):
    elsewhere = jax.sharding.SingleDeviceSharding(jax.devices()[3])
    target = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=elsewhere),
        jax.eval_shape(toy.state),
    )
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, config=CONFIG)
        found = checkpoints.restore(target)
    assert_same(found, state)
    assert all(leaf.devices() == {jax.devices()[3]} for leaf in jax.tree.leaves(found))


def test_the_state_may_be_donated_while_it_is_being_written(tmp_path, toy):
    """Large enough that writing is still going on when the next steps overwrite the arrays."""
    big = jnp.zeros(3_000_000)
    state = toy.state()._replace(params={"big": big}, ema_params={"big": big + 1}, opt_state=())
    bump = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
    with Checkpoints(tmp_path) as checkpoints:
        expected = jax.tree.map(np.array, state)
        checkpoints.save(state, config={})
        for _ in range(3):
            state = bump(state)
        assert_same(checkpoints.restore(state, step=0), expected)


def test_sampling_needs_no_optimizer_and_no_devices(tmp_path, state):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, config=CONFIG)
        checkpoints.save(at_step(state, 5), config='{"json": "text"}')
    found = restore_for_sampling(tmp_path, step=2)
    assert (found.step, found.config) == (2, CONFIG)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(found.ema_params))
    assert_same(found.ema_params, state.ema_params)
    latest = restore_for_sampling(tmp_path)
    assert (latest.step, latest.config) == (5, {"json": "text"})


AVERAGED = {"training": {"averages": ["power:0.05", "half_life:20", "power:0.1"]}}


@pytest.fixture(scope="module")
def averaged(state):
    return state._replace(
        averages=tuple(jax.tree.map(lambda x, n=n: x + n, state.params) for n in (1, 2, 3))
    )


def test_further_averages_are_restored_in_their_order(tmp_path, averaged):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(averaged, config=AVERAGED)
        assert_same(checkpoints.restore(averaged), averaged)


def test_a_further_average_is_read_for_sampling_by_its_name(tmp_path, averaged):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(averaged, config=AVERAGED)
    for name, params in zip(AVERAGED["training"]["averages"], averaged.averages, strict=True):
        found = restore_for_sampling(tmp_path, average=name)
        assert_same(found.ema_params, jax.device_get(params))
        assert (found.step, found.config) == (2, AVERAGED)
    assert_same(restore_for_sampling(tmp_path).ema_params, jax.device_get(averaged.ema_params))
    raw = restore_for_sampling(tmp_path, average="none").ema_params
    assert_same(raw, jax.device_get(averaged.params))
    with pytest.raises(
        ValueError,
        match=r"^average='power:0\.5' must be an average of the run, did you mean "
        r"'power:0\.05'\?: it has power:0\.05, half",
    ):
        restore_for_sampling(tmp_path, average="power:0.5")


def test_a_checkpoint_with_other_averages_is_an_error_that_names_the_array(
    tmp_path, state, averaged
):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, config=CONFIG)
        with pytest.raises(
            ValueError,
            match=r"fit this config: averages/0/b is missing there and float32\[3\] here$",
        ):
            checkpoints.restore(averaged)
        checkpoints.save(at_step(averaged, 5), config=AVERAGED)
        with pytest.raises(
            ValueError, match=r"averages/0/b is float32\[3\] there and missing here$"
        ):
            checkpoints.restore(state)
    with pytest.raises(
        ValueError,
        match=r"^average='power:0.05' must be .*: it has that of training.ema_decay alone; or",
    ):
        restore_for_sampling(tmp_path, step=2, average="power:0.05")


def test_reading_for_sampling_writes_nothing(tmp_path, state):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, config=CONFIG)
    unfinished = tmp_path / "7.orbax-checkpoint-tmp"
    unfinished.mkdir()
    before = sorted(tmp_path.rglob("*"))
    restore_for_sampling(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_half_written_checkpoints_are_removed_on_opening(tmp_path, state):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, config=CONFIG)
    (tmp_path / "7.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps() == [2]
    assert [path.name for path in tmp_path.iterdir()] == ["2"]


@pytest.mark.slow
def test_a_process_killed_while_saving_leaves_only_whole_checkpoints(tmp_path):
    program = f"""
import os, jax, jax.numpy as jnp
from score_sde.training import Checkpoints, TrainState
big = jax.random.normal(jax.random.key(0), 20_000_000)
checkpoints = Checkpoints({str(tmp_path)!r})
for step in (1, 2):
    checkpoints.wait()
    checkpoints.save(TrainState(jnp.int32(step), {{"w": big}}, {{"w": big + step}}, ()), config={{}})
os.kill(os.getpid(), 9)
"""  # noqa: E501
    subprocess.run([sys.executable, "-c", program], check=False)
    assert "2.orbax-checkpoint-tmp" in [path.name for path in tmp_path.iterdir()]
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps() == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    big = jax.random.normal(jax.random.key(0), 20_000_000)
    np.testing.assert_array_equal(restore_for_sampling(tmp_path).ema_params["w"], big + 1)


def test_keeps_the_last_and_the_best_across_a_restart(tmp_path, state):
    options = {"keep_last": 1, "keep_best": 1}
    with Checkpoints(tmp_path, **options) as checkpoints:
        for step, loss in ((1, 0.5), (2, 0.2)):
            checkpoints.save(at_step(state, step), config={}, metrics={"eval_loss": loss})
    with Checkpoints(tmp_path, **options) as checkpoints:
        for step, loss in ((3, 0.4), (4, 0.3)):
            checkpoints.save(at_step(state, step), config={}, metrics={"eval_loss": loss})
        checkpoints.save(at_step(state, 5), config={})
        assert checkpoints.best_step() == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "5"]


def test_saving_a_step_twice_keeps_the_first(tmp_path, state):
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.best_step() is None
        checkpoints.save(state, config={"take": 1})
        checkpoints.save(state, config={"take": 2})
    assert restore_for_sampling(tmp_path).config == {"take": 1}


@pytest.mark.parametrize("make", [True, False])
def test_a_folder_without_checkpoints_names_its_workdir(tmp_path, make):
    directory = tmp_path / "run" / "checkpoints"
    if make:
        directory.mkdir(parents=True)
    message = f"^no checkpoint in {directory}: train a model in workdir={directory.parent} first$"
    with pytest.raises(FileNotFoundError, match=message):
        restore_for_sampling(directory)
    assert directory.exists() == make


def test_a_missing_step_is_an_error_that_lists_the_steps(tmp_path, state):
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(FileNotFoundError, match="no checkpoint in"):
            checkpoints.restore(state)
        checkpoints.save(state, config={})
        with pytest.raises(
            FileNotFoundError, match=r"no checkpoint of step 3 in .*: there are \[2\]"
        ):
            checkpoints.restore(state, step=3)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"b": jnp.zeros(4)}, r"params/b is float32\[3\] there and float32\[4\] here"),
        (
            {"b": jnp.zeros(3, jnp.bfloat16)},
            r"params/b is float32\[3\] there and bfloat16\[3\] here",
        ),
        ({"extra": jnp.zeros(3)}, r"params/extra is missing there and float32\[3\] here"),
    ],
)
def test_a_checkpoint_of_another_network_is_an_error_that_names_the_array(
    tmp_path, state, changed, message
):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, config={})
        with pytest.raises(ValueError, match=f"does not fit this config: {message}$"):
            checkpoints.restore(state._replace(params={**state.params, **changed}))


def truncate(folder):
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:50])


@pytest.mark.parametrize(
    "damage",
    [
        lambda step: shutil.rmtree(step / "ema_params"),
        lambda step: (step / "ema_params" / "_METADATA").unlink(),
        lambda step: truncate(step / "ema_params" / "d"),
    ],
    ids=["no parameters", "no metadata", "torn arrays"],
)
def test_a_damaged_checkpoint_is_reported_in_one_line(tmp_path, state, damage):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, config={})
        checkpoints.wait()
        damage(tmp_path / "2")
        with pytest.raises(
            ValueError, match=f"^cannot read the checkpoint {tmp_path}/2, remove it .*$"
        ):
            checkpoints.restore(state, step=2)
    with pytest.raises(
        ValueError, match=f"^cannot read the checkpoint {tmp_path}/2, remove it .*$"
    ):
        restore_for_sampling(tmp_path)


def test_writes_nothing_to_the_log(tmp_path, state, caplog):
    with caplog.at_level(logging.DEBUG, logger="absl"):
        with Checkpoints(tmp_path) as checkpoints:
            checkpoints.save(state, config={})
        restore_for_sampling(tmp_path)
    assert [record.getMessage() for record in caplog.records if record.name == "absl"] == []
