"""What every optimizer that a config can name must do."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
from optax import contrib

from score_sde.data.loader import Batch
from score_sde.experiments.builders import build
from score_sde.experiments.tables import OPTIMIZERS
from score_sde.training import (
    EMA,
    Checkpoints,
    adam,
    evaluation_params,
    init_state,
    make_train_step,
    schedule_free,
)
from score_sde.training.mesh import compile_step, compile_steps, device_mesh, place, shard_batches
from score_sde.training.optimizer import schedule

PLAIN = {"lr": 0.05, "warmup": 0, "grad_clip": None, "weight_decay": 0.01}

THEIRS = {
    "adam": optax.adamw(0.05, weight_decay=0.01),
    "adamw": optax.adamw(0.05, weight_decay=0.01),
    "lion": optax.lion(0.05, weight_decay=0.01),
    "muon": contrib.muon(0.05, weight_decay=0.01, adam_weight_decay=0.01),
    "schedule_free": contrib.schedule_free_adamw(0.05, weight_decay=0.01),
}
"""The same optimizers as optax makes them."""

DECAYING = [
    name for name, make in OPTIMIZERS.items() if "decay" in inspect.signature(make).parameters
]


def params(dtype=jnp.float32):
    rng = np.random.default_rng(0)
    shapes = {"bias": (3,), "dense": (4, 3), "conv": (2, 2, 3, 4)}
    return {name: jnp.asarray(rng.normal(size=shape), dtype) for name, shape in shapes.items()}


def loss(params, key, u, example, context):
    """A quadratic, at its least where all parameters are one; of example ``x = 0``."""
    del key, u, context
    leaves = jax.tree.leaves(params)
    return sum(jnp.sum((p - 1) ** 2) for p in leaves) + jnp.sum(example.x), {}


def batch(rows=8):
    return Batch(x=np.zeros((rows, 1), np.float32), index=np.arange(rows, dtype=np.int32))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updates_are_those_of_optax(name):
    ours, theirs = OPTIMIZERS[name](**PLAIN), THEIRS[name]
    found = []
    for optimizer in (ours, theirs):
        p, state = params(), optimizer.init(params())
        for n in range(3):
            grads = jax.tree.map(lambda leaf, n=n: jnp.cos(leaf + n), p)
            updates, state = optimizer.update(grads, state, p)
            p = optax.apply_updates(p, updates)
        found.append(p)
    for a, b in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_clipping_bounds_the_gradient(name):
    """With clipping a gradient and its double give the same updates."""
    optimizer = OPTIMIZERS[name](lr=0.1, warmup=0, grad_clip=0.5)
    grads = jax.tree.map(jnp.cos, params())
    assert optax.tree.norm(grads) > 0.5
    found = []
    for scale in (1.0, 2.0):
        given = jax.tree.map(lambda g, scale=scale: scale * g, grads)
        found.append(optimizer.update(given, optimizer.init(params()), params()))
    for a, b in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_quadratic_is_minimised_and_its_average_with_it(name):
    falling = {"decay": "cosine", "decay_steps": 150} if name in DECAYING else {}
    optimizer = OPTIMIZERS[name](lr=0.1, warmup=5, weight_decay=0.0, **falling)
    step = make_train_step(loss, optimizer, EMA(decay=0.9))
    mesh = device_mesh(jax.devices()[:1])
    state = place(mesh, init_state(params(), optimizer))
    start = loss(params(), None, None, batch(), None)[0]
    run = compile_steps(step, mesh, state)
    for _ in range(25):
        state, _ = run(state, shard_batches(mesh, [batch()] * 6), jax.random.key(0))
    for found in (state.params, state.ema_params):
        assert loss(found, None, None, batch(), None)[0] < 0.02 * start


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_is_float32_whatever_the_parameters(name):
    optimizer = OPTIMIZERS[name](lr=0.1, warmup=0)
    halves = params(jnp.bfloat16)
    state = optimizer.init(halves)
    _, state = optimizer.update(jax.tree.map(jnp.cos, halves), state, halves)
    floats = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    assert floats and {leaf.dtype for leaf in floats} == {jnp.dtype("float32")}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_state_is_saved_and_restored_bit_for_bit(name, tmp_path):
    optimizer = OPTIMIZERS[name](lr=0.1, warmup=0)
    step = make_train_step(loss, optimizer, EMA(decay=0.9))
    state, _ = jax.jit(step)(init_state(params(), optimizer), batch(), jax.random.key(0))
    mesh = device_mesh(jax.devices()[:1])
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(state, config={})
        checkpoints.wait()
        restored = checkpoints.restore(place(mesh, init_state(params(), optimizer)))
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    for a, b in zip(jax.tree.leaves(restored), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_split_over_devices_and_in_parts_the_update_is_the_same(name):
    """Parameters and moments split over four devices, the batch in two parts."""
    big = {"matrix": jnp.eye(64, 128), "bias": jnp.zeros(3)}
    optimizer, found = OPTIMIZERS[name](lr=0.1, warmup=0), []
    for devices, fsdp, parts in ((1, 1, 1), (4, 4, 2)):
        mesh = device_mesh(jax.devices()[:devices], fsdp=fsdp)
        step = make_train_step(loss, optimizer, EMA(decay=0.9), num_microbatches=parts)
        state = place(mesh, init_state(big, optimizer))
        state, _ = compile_step(step, mesh, state)(state, batch(), jax.random.key(0))
        assert len(state.params["matrix"].sharding.device_set) == devices
        found.append((state.params, state.ema_params))
    for a, b in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_config_trains_by_its_name(name):
    config = tiny.config_of(tiny.TOY)
    config.optim = {"name": name, "lr": 1e-3, "warmup": 2}
    if name in DECAYING:
        config.optim.decay = "cosine"
    experiment = build(config)
    step = make_train_step(
        experiment.loss_fn(train=True), experiment.optimizer, experiment.training.ema
    )
    state = init_state(experiment.model.params, experiment.optimizer)
    rows = Batch(x=experiment.source.train[:8], index=np.arange(8, dtype=np.int32))
    run = jax.jit(step)
    for _ in range(3):
        state, metrics = run(state, rows, jax.random.key(0))
    assert np.isfinite(metrics["loss"]) and int(state.skipped) == 0


@pytest.mark.parametrize("decay", ["cosine", "linear"])
def test_the_rate_grows_stays_and_falls(decay):
    rate = schedule(0.4, 10, decay, 110)
    assert rate(0) == 0.0
    np.testing.assert_allclose([rate(5), rate(10), rate(60)], [0.2, 0.4, 0.2], rtol=1e-5)
    np.testing.assert_allclose([rate(110), rate(200)], 0.0, atol=1e-8)
    assert schedule(0.4, 0, decay, 100)(0) == pytest.approx(0.4)
    assert schedule(0.4, 10)(1000) == pytest.approx(0.4)


def test_a_config_decays_to_the_end_of_its_training():
    """After as many updates as the training has, an update moves nothing."""
    config = tiny.config_of(tiny.TOY)
    config.optim = {"name": "adam", "lr": 0.1, "warmup": 0, "decay": "linear"}
    optimizer = build(config).optimizer
    p, moved = jnp.zeros(2), []
    state = optimizer.init(p)
    for _ in range(config.training.num_steps + 1):
        update, state = optimizer.update(jnp.ones(2), state, p)
        moved.append(float(abs(update[0])))
    assert moved[-2] > 0.0 and moved[-1] == 0.0


def test_a_trial_may_end_in_the_warm_up():
    """Its learning rate rises until the last update."""
    config = tiny.config_of(tiny.TOY)
    config.optim = {"name": "adam", "lr": 0.1, "warmup": 50, "decay": "cosine"}
    config.training.num_steps = 3
    optimizer = build(config).optimizer
    p, moved = jnp.zeros(2), []
    state = optimizer.init(p)
    for _ in range(3):
        update, state = optimizer.update(jnp.ones(2), state, p)
        moved.append(float(abs(update[0])))
    np.testing.assert_allclose(moved, [0.0, 0.002, 0.004], atol=1e-6)


@pytest.mark.parametrize("wrap", [lambda o: o, lambda o: optax.chain(optax.identity(), o)])
def test_averages_are_of_the_parameters_to_evaluate(wrap):
    """Also where a schedule-free state lies within that of the user's own chain."""
    optimizer = wrap(contrib.schedule_free_sgd(0.1, b1=0.9))
    step = jax.jit(make_train_step(loss, optimizer, EMA(decay=0.0), averages=(EMA(decay=0.0),)))
    state = init_state(params(), optimizer, num_averages=1)
    for _ in range(3):
        state, _ = step(state, batch(), jax.random.key(0))
    inner = state.opt_state if hasattr(state.opt_state, "z") else state.opt_state[1]
    expected = contrib.schedule_free_eval_params(inner, state.params)
    for found in (state.ema_params, state.averages[0]):
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=0.2, atol=2e-2)
    assert optax.tree.norm(optax.tree.sub(expected, state.params)) > 0.05


def test_a_schedule_free_state_of_some_parameters_evaluates_those_alone():
    labels = {"bias": "plain", "dense": "free", "conv": "free"}
    optimizer = optax.partition(
        {"plain": optax.sgd(0.1), "free": contrib.schedule_free_sgd(0.1)}, labels
    )
    p = params()
    state = optimizer.init(p)
    for _ in range(3):
        update, state = optimizer.update(jax.tree.map(jnp.cos, p), state, p)
        p = optax.apply_updates(p, update)
    found = evaluation_params(state, p)
    np.testing.assert_array_equal(found["bias"], p["bias"])
    assert jnp.max(jnp.abs(found["dense"] - p["dense"])) > 1e-3


def test_of_any_other_optimizer_the_parameters_are_evaluated_themselves():
    p = params()
    assert evaluation_params(adam(lr=0.1).init(p), p) is p


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(
    "wrong", [{"lr": -1.0}, {"warmup": -1}, {"weight_decay": -0.1}, {"beta1": 1.0}, {"beta2": -0.1}]
)
def test_wrong_values_are_named_in_one_line(name, wrong):
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))}=.* must be .*$") as caught:
        OPTIMIZERS[name](**{"lr": 1e-3, **wrong})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", DECAYING)
@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"decay": "cosin"}, "decay"),
        ({"decay": "cosine"}, "decay_steps"),
        ({"decay": "linear", "decay_steps": 5, "warmup": 5}, "decay_steps"),
        ({"decay_steps": 5}, "decay_steps"),
    ],
)
def test_a_decay_that_cannot_be_is_refused(name, wrong, named):
    with pytest.raises(ValueError, match=f"^{named}=.* must be .*$"):
        OPTIMIZERS[name](**{"lr": 1e-3, **wrong})


def test_schedule_free_needs_its_average():
    with pytest.raises(ValueError, match=r"^beta1=0.0 must be positive"):
        schedule_free(lr=1e-3, beta1=0.0)
