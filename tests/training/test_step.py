"""A training step is its formula, on any devices and in any number of parts."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
from jax.sharding import PartitionSpec as P

from score_sde.data import Batch, Example, Loader
from score_sde.experiments.builders import build
from score_sde.training import (
    EMA,
    PowerEMA,
    compile_step,
    device_mesh,
    init_state,
    make_eval_step,
    make_train_step,
    place,
    shard_batch,
    step_axes,
)

NUM_STEPS = 3


def run(step, state, toy, prepare=lambda batch: batch):
    metrics = None
    for n in range(NUM_STEPS):
        state, metrics = step(state, prepare(toy.loader.batch(n)), toy.key)
    return state, metrics


def on_mesh(toy, num_devices, axis_name=None):
    mesh = device_mesh(jax.devices()[:num_devices])
    step = compile_step(toy.step(axis_name), mesh, toy.state())
    return run(step, place(mesh, toy.state()), toy, lambda batch: shard_batch(mesh, batch))


def with_shard_map(toy, check_vma):
    step = jax.shard_map(
        toy.step(axis_name="data"),
        mesh=device_mesh(),
        in_specs=(P(), P("data"), P()),
        out_specs=(P(), P()),
        check_vma=check_vma,
    )
    return run(jax.jit(step), toy.state(), toy)


def with_pmap(toy):
    step = jax.pmap(toy.step(axis_name="data"), axis_name="data", in_axes=(0, 0, None))
    num_devices = jax.local_device_count()

    def split(batch):
        return jax.tree.map(lambda x: x.reshape(num_devices, -1, *x.shape[1:]), batch)

    state = jax.tree.map(lambda x: jnp.stack([x] * num_devices), toy.state())
    found = run(step, state, toy, split)
    for leaf in jax.tree.leaves(found):
        np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:1], leaf.shape))
    return jax.tree.map(lambda x: x[0], found)


def assert_close(found, expected, rtol=1e-5):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=1e-7)


@pytest.mark.parametrize(
    "variant",
    [
        lambda toy: run(toy.step(), toy.state(), toy),
        lambda toy: on_mesh(toy, 1),
        lambda toy: on_mesh(toy, 8),
        lambda toy: on_mesh(toy, 8, step_axes(device_mesh())),
        lambda toy: with_shard_map(toy, check_vma=True),
        lambda toy: with_shard_map(toy, check_vma=False),
        with_pmap,
    ],
    ids=[
        "plain",
        "one device",
        "eight devices",
        "eight devices, one sum",
        "shard_map",
        "shard_map unchecked",
        "pmap",
    ],
)
def test_jit_pmap_and_shard_map_give_the_same_update(toy, variant):
    found = variant(toy)
    assert_close(found, run(jax.jit(toy.step()), toy.state(), toy))
    assert int(found[0].step) == NUM_STEPS


def test_an_update_is_its_formula(toy):
    batch = toy.loader.batch(0)
    optimizer, state = (
        optax.sgd(0.1),
        toy.state()._replace(opt_state=optax.sgd(0.1).init(toy.params())),
    )

    def mean_loss(params):
        key = jax.random.fold_in(toy.key, 0)
        losses = [
            toy.loss_fn(params, jax.random.fold_in(key, i), 0.0, Example(batch.x[i]), None)[0]
            for i in range(8)
        ]
        return sum(losses) / 8

    loss, grads = jax.value_and_grad(mean_loss)(toy.params())
    found, metrics = make_train_step(toy.loss_fn, optimizer, EMA(decay=0.9))(state, batch, toy.key)
    params = jax.tree.map(lambda p, g: p - 0.1 * g, toy.params(), grads)
    ema_params = jax.tree.map(lambda old, new: 2 / 11 * old + 9 / 11 * new, toy.params(), params)
    assert_close(found.params, params)
    assert_close(found.ema_params, ema_params)
    assert metrics.keys() == {"loss", "grad_norm", "skipped", "bad_leaf", "prediction"}
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    squares = sum(float(jnp.sum(g**2)) for g in jax.tree.leaves(grads))
    np.testing.assert_allclose(metrics["grad_norm"], np.sqrt(squares), rtol=1e-5)


@pytest.mark.parametrize(("axis_name", "backend"), [(None, "cpu"), (None, "gpu"), ("data", "gpu")])
def test_parts_of_a_batch_accumulate_to_the_whole(toy, axis_name, backend, monkeypatch):
    """On four devices, each with two rows of a batch of eight; and scalars that only
    some rows have.
    """
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    mesh = device_mesh(jax.devices()[:4])
    found = []
    for num_microbatches in (1, 2):
        step = make_train_step(
            picky,
            toy.optimizer(),
            EMA(decay=0.9),
            axis_name=axis_name,
            num_microbatches=num_microbatches,
        )
        if axis_name:
            specs = {"in_specs": (P(), P("data"), P()), "out_specs": (P(), P())}
            step = jax.shard_map(step, mesh=mesh, **specs)
        state = place(mesh, toy.state())
        step = jax.jit(step) if axis_name else compile_step(step, mesh, toy.state())
        for number in range(3):
            state, metrics = step(state, shard_batch(mesh, toy.loader.batch(number)), toy.key)
        found.append((state, metrics))
    assert_close(found[1], found[0], rtol=1e-5)


def test_parts_take_less_memory(monkeypatch):
    """A layer of 1,000 hidden units and 1,024 rows: in eight parts, a quarter of the
    memory at most.
    """
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")

    def loss(params, key, u, example, context):
        return jnp.sum(jnp.tanh(example.x @ params["in"]) @ params["out"]) ** 2, {}

    params = {"in": jnp.ones((3, 1000)), "out": jnp.ones((1000, 3))}
    optimizer = optax.sgd(0.1)
    state, x = init_state(params, optimizer), np.ones((1024, 3), np.float32)
    batch = Batch(x=x, index=np.arange(1024, dtype=np.int32))
    whole, parts = (
        jax.jit(make_train_step(loss, optimizer, EMA(), num_microbatches=number))
        .lower(state, batch, jax.random.key(0))
        .compile()
        .memory_analysis()
        .temp_size_in_bytes
        for number in (1, 8)
    )
    assert parts < 0.25 * whole


def picky(params, key, u, example, context):
    """A loss like that of the toy, with a scalar that the rows of small ``u`` lack."""
    x = example.x
    prediction = (
        jnp.tanh((x + jax.random.normal(key, x.shape)) @ params["layer"]["w"]) + params["b"]
    )
    loss = jnp.mean((prediction - x) ** 2)
    return loss * (1.0 + u), {"large": jnp.where(u > 0.3, u, jnp.nan)}


def with_context(params, key, u, example, context):
    """A loss that pulls the parameters to what is frozen, and logs its context."""
    del key, u, example
    aux = {"step": context.step.astype(float), "average": context.ema_params["w"]}
    return 0.5 * (params["w"] - context.frozen["w"]) ** 2, aux


def test_the_step_the_average_and_frozen_parameters_reach_the_loss_and_these_stay(toy):
    mesh, optimizer = device_mesh(), optax.sgd(0.5)
    frozen = {"w": jnp.full((), 3.0)}
    state = place(mesh, init_state({"w": jnp.zeros(())}, optimizer, frozen=frozen))
    step = compile_step(make_train_step(with_context, optimizer, EMA(decay=0.0)), mesh, state)
    for number, wanted in enumerate((1.5, 2.25)):
        before = float(state.params["w"])
        state, metrics = step(state, shard_batch(mesh, toy.loader.batch(0)), toy.key)
        assert (state.params["w"], state.frozen["w"]) == (wanted, 3.0)
        assert (metrics["step"], metrics["average"]) == (number, before)
    assert metrics["loss"] == 0.5 * 1.5**2
    held_out = make_eval_step(with_context)(
        state._replace(ema_params={"w": 1.0}), toy.loader.batch(0), toy.key
    )
    assert held_out["loss"] == 2.0


def test_several_averages_are_kept_beside_the_one_to_sample_with(toy):
    rules = (PowerEMA(sigma_rel=0.1), EMA(decay=0.5, warmup=False))
    mesh, optimizer = device_mesh(), toy.optimizer()
    state = place(mesh, init_state(toy.params(), optimizer, num_averages=2))
    step = compile_step(
        make_train_step(toy.loss_fn, optimizer, EMA(decay=0.9), averages=rules), mesh, state
    )
    expected = tuple(jax.tree.map(jnp.copy, toy.params()) for _ in rules)
    for n in range(NUM_STEPS):
        state, _ = step(state, shard_batch(mesh, toy.loader.batch(n)), toy.key)
        expected = tuple(
            rule.update(old, state.params, n + 1) for rule, old in zip(rules, expected, strict=True)
        )
    assert_close(state.averages, expected)
    plain, _ = on_mesh(toy, jax.device_count())
    assert_close(state._replace(averages=()), plain, rtol=1e-6)


def test_noise_differs_between_steps_and_between_samples(toy):
    def noise(params, key, u, example, context):
        return params["w"] * jax.random.normal(key, ()), {}

    batch, params = toy.loader.batch(0), {"w": jnp.ones(())}
    optimizer = optax.sgd(0.0)
    step = jax.jit(make_train_step(noise, optimizer, EMA()))
    state = toy.state()._replace(params=params, ema_params=params, opt_state=optimizer.init(params))
    state, first = step(state, batch, toy.key)
    _, second = step(state, batch, toy.key)
    assert first["loss"] != second["loss"]
    same = batch._replace(index=np.zeros_like(batch.index))
    one_noise = jax.random.normal(jax.random.fold_in(jax.random.fold_in(toy.key, 1), 0), ())
    np.testing.assert_allclose(step(state, same, toy.key)[1]["loss"], one_noise, rtol=1e-6)


def test_evaluation_uses_the_average_and_the_same_noise_at_any_step(toy):
    state, batch = toy.state(), toy.held_out.batch(0)
    evaluate = jax.jit(make_eval_step(toy.loss_fn))
    expected = evaluate(state, batch, toy.key)
    changed = state._replace(
        params=jax.tree.map(lambda x: x + 1, state.params), step=state.step + 5
    )
    assert_close(evaluate(changed, batch, toy.key), expected, rtol=0)
    averaged = state._replace(ema_params=changed.params)
    assert evaluate(averaged, batch, toy.key)["loss"] != expected["loss"]


def test_all_steps_share_one_trace(toy):
    traces = []

    def counting(*args):
        traces.append(None)
        return toy.loss_fn(*args)

    mesh = device_mesh()
    step = compile_step(make_train_step(counting, toy.optimizer(), EMA()), mesh, toy.state())
    run(step, place(mesh, toy.state()), toy, lambda batch: shard_batch(mesh, batch))
    assert len(traces) == 1


def quantiles(params, key, u, example, context):
    """The number of each of eight rows, as scalars of their own; the first row's alone
    is not NaN.
    """
    values = {f"u{k}": jnp.where(jnp.floor(8 * u) == k, u, jnp.nan) for k in range(8)}
    return params["w"] * u, {**values, "nowhere": jnp.nan * u}


@pytest.mark.parametrize("axis_name", [None, "data"])
def test_every_batch_has_one_number_in_each_equal_part(toy, axis_name):
    """And a scalar that only some rows have is averaged over those, NaN where none has
    it; on any devices.
    """
    params = {"w": jnp.ones(())}
    optimizer = optax.sgd(0.0)
    state = toy.state()._replace(params=params, ema_params=params, opt_state=optimizer.init(params))
    step = make_train_step(quantiles, optimizer, EMA(), axis_name=axis_name)
    if axis_name:
        specs = {"in_specs": (P(), P("data"), P()), "out_specs": (P(), P())}
        step = jax.shard_map(step, mesh=device_mesh(), **specs)
    shifts = []
    for _ in range(3):
        state, metrics = jax.jit(step)(state, toy.loader.batch(0), toy.key)
        found = np.array([metrics[f"u{k}"] for k in range(8)])
        np.testing.assert_allclose(np.diff(found), 1.0 / 8.0, rtol=1e-5)
        np.testing.assert_allclose(metrics["loss"], found.mean(), rtol=1e-5)
        assert np.isnan(metrics["nowhere"])
        shifts.append(found[0])
    assert min(shifts) >= 0.0 and max(shifts) < 1.0 / 8.0 and len(set(shifts)) == 3


@pytest.mark.slow
def test_a_network_in_bfloat16_is_trained_in_float32():
    """Its products have half the bytes; parameters, averages, and the state of the
    optimizer do not lose a bit.
    """
    config = tiny.config_of(tiny.DIGITS)
    config.model.dtype = "bfloat16"
    experiment = build(config)
    step = make_train_step(
        experiment.loss_fn(train=True), experiment.optimizer, experiment.training.ema
    )
    state = init_state(experiment.model.params, experiment.optimizer)
    batch = Loader(array=experiment.source.train, batch_size=4).batch(0)
    program, (new, metrics) = jax.make_jaxpr(step, return_shape=True)(
        state, batch, jax.random.key(0)
    )
    products = [line for line in str(program).splitlines() if "= conv_general_dilated" in line]
    assert products and all("bf16[" in line for line in products)
    floating = [
        leaf.dtype
        for leaf in jax.tree.leaves((new, metrics))
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    assert set(floating) == {jnp.dtype("float32")}
