"""Networks with half-precision parameters have averages and moments in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

import score_sde.training.step
from score_sde.data.loader import Batch
from score_sde.experiments.builders import build, build_model
from score_sde.export.tensor_file import write_tensors
from score_sde.models import ScoreNetwork, mlp
from score_sde.training import (
    EMA,
    Checkpoints,
    PowerEMA,
    adam,
    compile_step,
    device_mesh,
    init_state,
    make_train_step,
    place,
    reconstruct,
    restore_for_sampling,
    shard_batch,
)
from score_sde.training.checkpoints.manifest import arrays_of

HALVES = ["bfloat16", "float16"]


def batch_of(x):
    return Batch(x=np.asarray(x, np.float32), index=np.arange(len(x), dtype=np.int32))


def linear(params, key, u, example, context):
    """A loss whose gradient is ``x``."""
    del key, u, context
    return jnp.sum(params["w"] * example.x), {}


def after(num_steps, step, state, x):
    """The state after equal steps, in one loop."""
    batch = batch_of(x)
    advance = lambda _, state: step(state, batch, jax.random.key(0))[0]  # noqa: E731
    return jax.jit(lambda state: jax.lax.fori_loop(0, num_steps, advance, state))(state)


@pytest.mark.parametrize("dtype", HALVES)
def test_an_average_over_many_updates_equals_one_in_float32(dtype):
    """Of a constant 1, from 0: ``1 - 0.9999^20000 = 0.8647``; in half precision it
    would stop at 0.03 and 0.25.
    """
    params, optimizer = {"w": jnp.zeros(1, dtype)}, optax.sgd(0.0)
    state = init_state(params, optimizer, num_averages=1)._replace(params={"w": jnp.ones(1, dtype)})
    rules = {"ema": EMA(decay=0.9999, warmup=False), "averages": (EMA(decay=0.9999, warmup=False),)}
    found = after(20_000, make_train_step(linear, optimizer, **rules), state, [[0.0]])
    expected = -np.expm1(20_000 * np.log1p(-1e-4))
    assert found.params["w"].dtype == dtype
    for average in (found.ema_params, *found.averages):
        assert average["w"].dtype == jnp.float32
        np.testing.assert_allclose(average["w"], expected, rtol=1e-3)


@pytest.mark.parametrize("dtype", HALVES)
def test_the_moments_of_adam_equal_those_in_float32(dtype):
    """Of a constant gradient 1: ``1 - 0.999^3000 = 0.950``; in bfloat16 the second
    moment would stop at 0.25.
    """
    optimizer = adam(lr=0.0, warmup=0, grad_clip=None)
    found = after(
        3000,
        make_train_step(linear, optimizer, EMA()),
        init_state({"w": jnp.zeros(1, dtype)}, optimizer),
        [[1.0]],
    )
    moments = optax.tree.get(found.opt_state, "ScaleByAdamState")
    assert moments.nu["w"].dtype == moments.mu["w"].dtype == jnp.float32
    np.testing.assert_allclose(moments.nu["w"], -np.expm1(3000 * np.log1p(-1e-3)), rtol=1e-3)
    np.testing.assert_allclose(moments.mu["w"], 1.0, rtol=1e-3)


@pytest.mark.parametrize("dtype", HALVES)
def test_adam_alone_keeps_float32_moments_too(dtype):
    """Outside of a training step, as in a loop of a user's own."""
    optimizer, params = adam(lr=2**-10, warmup=0, eps=1e-12), {"w": jnp.full(1, 0.25, dtype)}
    state = optimizer.init(params)
    update, state = jax.jit(optimizer.update)({"w": jnp.full(1, 2**-13, dtype)}, state, params)
    assert {leaf.dtype for leaf in jax.tree.leaves(state) if leaf.ndim} == {jnp.dtype("float32")}
    new = optax.apply_updates(params, update)
    assert new["w"].dtype == dtype
    np.testing.assert_array_equal(new["w"], jnp.asarray(0.25 - 2**-10, dtype))


def test_parts_of_a_batch_and_devices_add_up_in_float32(monkeypatch):
    """One gradient of 256 and 15 of one: in bfloat16 ``256 + 1 = 256``."""
    monkeypatch.setattr(score_sde.training.step.jax, "default_backend", lambda: "gpu")
    optimizer, x = optax.sgd(0.0), np.ones((16, 1))
    x[0] = 256.0
    state = init_state({"w": jnp.zeros(1, jnp.bfloat16)}, optimizer)
    step = make_train_step(linear, optimizer, EMA(), num_microbatches=16)
    _, metrics = jax.jit(step)(state, batch_of(x), jax.random.key(0))
    np.testing.assert_allclose(metrics["grad_norm"], 271 / 16, rtol=1e-5)


def test_losses_in_half_precision_are_averaged_in_float32():
    """The mean of 1,000 losses, of which 999 count: in bfloat16 their number would be 1,000."""

    def loss(params, key, u, example, context):
        x = example.x
        value = params["w"][0] * x[0].astype(jnp.bfloat16)
        return value, {"there": jnp.where(x[0] > 0, value, jnp.nan)}

    optimizer, x = optax.sgd(0.0), np.ones((1000, 1))
    x[0] = 0.0
    state = init_state({"w": jnp.ones(1, jnp.bfloat16)}, optimizer)
    _, metrics = jax.jit(make_train_step(loss, optimizer, EMA()))(
        state, batch_of(x), jax.random.key(0)
    )
    np.testing.assert_allclose([metrics["loss"], metrics["there"]], [0.999, 1.0], rtol=1e-5)


def test_float64_stays_float64():
    with jax.enable_x64(True):
        optimizer = adam(lr=0.1, warmup=0)
        state = init_state({"w": jnp.ones(2, jnp.float64)}, optimizer, num_averages=1)
        step = make_train_step(linear, optimizer, EMA(), averages=(PowerEMA(sigma_rel=0.1),))
        new, _ = jax.jit(step)(state, batch_of(np.ones((2, 2))), jax.random.key(0))
        for found in (state, new):
            arrays = (found.params, found.ema_params, found.averages, found.opt_state)
            assert {leaf.dtype for leaf in jax.tree.leaves(arrays) if leaf.ndim} == {
                jnp.dtype("float64")
            }


def half_state(optimizer, dtype="bfloat16", size=(64, 64)):
    return init_state({"w": jnp.ones(size, dtype)}, optimizer, num_averages=1)


def narrowed(state, dtype):
    """As earlier versions kept it: the averages and moments in the precision of the parameters."""
    halve = lambda leaf: (  # noqa: E731
        (leaf * 0.7).astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
    )
    parts = {
        "ema_params": state.ema_params,
        "averages": state.averages,
        "opt_state": state.opt_state,
    }
    return state._replace(**jax.tree.map(halve, parts))


@pytest.mark.parametrize("dtype", HALVES)
def test_a_run_whose_averages_were_saved_in_half_precision_resumes_in_float32(tmp_path, dtype):
    """Split over two devices; what was not widened, such as the parameters, must be as it was."""
    optimizer, mesh = adam(lr=0.1, warmup=0), device_mesh(jax.devices()[:2], fsdp=2)
    state = place(mesh, half_state(optimizer, dtype))
    old = narrowed(state, dtype)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(old, config={"training": {"averages": ["power:0.1"]}})
        found = checkpoints.restore(state)
        with pytest.raises(
            ValueError, match=rf"params/w is {dtype}\[64, 64\] there and float32\[64, 64\] here$"
        ):
            checkpoints.restore(state._replace(params=jax.tree.map(jnp.float32, state.params)))
    assert arrays_of(found) == arrays_of(state)
    for ours, theirs, like in zip(*map(jax.tree.leaves, (found, old, state)), strict=True):
        np.testing.assert_array_equal(ours, theirs.astype(ours.dtype))
        assert ours.sharding.is_equivalent_to(like.sharding, ours.ndim)
    np.testing.assert_array_equal(
        restore_for_sampling(tmp_path).ema_params["w"], old.ema_params["w"]
    )
    step = make_train_step(linear, optimizer, EMA(), averages=(PowerEMA(sigma_rel=0.1),))
    new, _ = compile_step(step, mesh, found)(
        found, shard_batch(mesh, batch_of(np.ones((2, 64)))), jax.random.key(0)
    )
    assert arrays_of(new) == arrays_of(state)


def test_a_sum_of_half_precision_snapshots_is_of_float32(tmp_path):
    for step, value in ((1, 1.0), (2, 1.0078125)):
        facts = {"step": step, "sigma_rel": 0.1}
        write_tensors(
            tmp_path / f"power_0.1_{step:08d}.safetensors",
            {"w": jnp.full(3, value, jnp.bfloat16)},
            facts,
        )
    found = reconstruct(tmp_path, sigma_rel=0.15).params["w"]
    assert found.dtype == np.float32
    assert np.all(found.astype(jnp.bfloat16) != found)


def half_mlp(shape):
    """A network of a user's own whose parameters, but not its samples, are in half precision."""
    network = mlp(shape, hidden_sizes=(8,), embedding_dim=4)
    init = lambda key: jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), network.init(key))  # noqa: E731
    return ScoreNetwork(init, network.apply)


def test_a_half_precision_network_is_trained_and_drawn_from_by_its_float32_average():
    config = tiny.config_of(tiny.TOY)
    config.model = {"name": f"{__name__}:half_mlp"}
    experiment = build(config)
    step = make_train_step(
        experiment.loss_fn(train=True), experiment.optimizer, experiment.training.ema
    )
    state = init_state(experiment.model.params, experiment.optimizer)
    batch = batch_of(experiment.source.train[:4])
    state, metrics = jax.jit(step)(state, batch, jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("bfloat16")}
    assert {leaf.dtype for leaf in jax.tree.leaves(state.ema_params)} == {jnp.dtype("float32")}
    assert metrics["loss"].dtype == metrics["grad_norm"].dtype == jnp.float32
    model = build_model(experiment.model.config, jax.device_get(state.ema_params), step=1)
    score = model.score_fn(jnp.ones(model.shape), 0.5)
    assert score.dtype == jnp.float32 and np.isfinite(score).all()
