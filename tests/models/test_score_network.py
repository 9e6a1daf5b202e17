"""`ScoreNetwork` and its score function of one sample."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from score_sde.models import ScoreNetwork, from_linen, make_score_fn, mlp, unet
from score_sde.parameterization import EDMPreconditioning, NoisePrediction
from score_sde.sdes.vp import VPSDE

SHAPE = (4, 4, 1)


def randomized(network: ScoreNetwork):
    """Parameters without the zeros of initialisation, so that every layer shows in the
    output; nothing is compiled.
    """
    rng = np.random.default_rng(0)
    abstract = jax.eval_shape(network.init, jax.random.key(0))
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.3 * rng.standard_normal(leaf.shape), leaf.dtype), abstract
    )


@pytest.fixture(scope="module")
def network():
    return unet(SHAPE, channels=4, channel_mult=(1,), num_classes=3, dropout=0.5)


@pytest.fixture(scope="module")
def params(network):
    return randomized(network)


@pytest.fixture(scope="module")
def batch():
    return jax.random.normal(jax.random.key(7), (8, *SHAPE)), jnp.linspace(0.01, 1.0, 8)


def test_vmapped_score_fn_is_the_batched_network(network, params, batch):
    x, t = batch
    parameterization = EDMPreconditioning()
    sde = VPSDE()
    label = jnp.arange(8) % 3

    def score_fn(x, t, label):
        return make_score_fn(sde, network, parameterization, params, condition=label)(x, t)

    score = jax.jit(jax.vmap(score_fn))(x, t, label)
    x_in, t_in = jax.vmap(lambda x, t: parameterization.network_input(sde, x, t))(x, t)
    output = jax.jit(network.apply)(params, x_in, t_in, condition=label)
    expected = jax.vmap(lambda output, x, t: parameterization.score(sde, output, x, t))(
        output, x, t
    )
    np.testing.assert_allclose(score, expected, rtol=2e-3, atol=1e-4)


def test_score_fn_takes_a_python_time_and_gradients(network, params, batch):
    score_fn = make_score_fn(VPSDE(), network, NoisePrediction(), params)
    x = batch[0][0]
    tangent = jax.random.normal(jax.random.key(1), x.shape)

    @jax.jit
    def derivatives(x):
        forward = jax.jvp(lambda x: score_fn(x, 0.5), (x,), (tangent,))[1]
        backward = jax.grad(lambda x: jnp.vdot(score_fn(x, 0.5), tangent))(x)
        return jnp.vdot(forward, tangent), jnp.vdot(backward, tangent)

    np.testing.assert_allclose(*derivatives(x), rtol=1e-3)


def test_the_vmapped_score_fn_has_the_operations_of_the_batched_network(network, params, batch):
    """The compiler counts the same floating-point operations, to a tenth, on either
    side of the border.
    """
    x, t = batch
    score_fn = make_score_fn(VPSDE(), network, NoisePrediction(), params)

    def flops(function):
        cost = jax.jit(function).lower(x, t).compile().cost_analysis()
        return cost["flops"]

    batched = flops(lambda x, t: network.apply(params, x, 999 * t))
    assert flops(jax.vmap(score_fn)) == pytest.approx(batched, rel=0.1)


def test_a_row_depends_on_no_other_row(network, params, batch):
    x, t = batch
    apply = jax.jit(network.apply)
    other = x.at[1:].set(100.0), t.at[1:].set(0.5)
    np.testing.assert_allclose(
        apply(params, x, t)[0], apply(params, *other)[0], rtol=1e-5, atol=1e-5
    )


def test_sharded_and_pmapped_batches_agree(network, params, batch):
    x, t = batch
    expected = jax.jit(network.apply)(params, x, t)
    mesh = Mesh(np.array(jax.devices()), ("data",))
    rows = NamedSharding(mesh, PartitionSpec("data"))
    sharded = jax.jit(network.apply)(params, jax.device_put(x, rows), jax.device_put(t, rows))
    np.testing.assert_allclose(sharded, expected, rtol=1e-4, atol=1e-5)
    mapped = jax.pmap(network.apply, in_axes=(None, 0, 0))(params, x[:, None], t[:, None])
    np.testing.assert_allclose(mapped[:, 0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_dropout_needs_a_key_and_differs_by_key(network, params, batch):
    x, t = batch
    with pytest.raises(ValueError, match="train=True needs a key"):
        network.apply(params, x, t, train=True)
    train = jax.jit(lambda key: network.apply(params, x, t, key=key, train=True))
    first, again, second = (
        train(jax.random.key(1)),
        train(jax.random.key(1)),
        train(jax.random.key(2)),
    )
    np.testing.assert_array_equal(first, again)
    assert float(jnp.abs(first - second).max()) > 1e-3
    # Outside training a key is allowed, and without effect.
    evaluate = jax.jit(lambda key: network.apply(params, x, t, key=key))
    np.testing.assert_array_equal(evaluate(jax.random.key(1)), evaluate(jax.random.key(2)))


def test_each_sample_has_its_own_dropout_key(network, params):
    x, t = jnp.ones(SHAPE), jnp.float32(0.5)

    def score(key):
        return make_score_fn(VPSDE(), network, NoisePrediction(), params, key=key, train=True)(x, t)

    keys = jax.random.split(jax.random.key(0), 2)
    together = jax.jit(jax.vmap(score))(keys)
    assert float(jnp.abs(together[0] - together[1]).max()) > 1e-3
    np.testing.assert_allclose(jax.jit(score)(keys[1]), together[1], rtol=1e-4, atol=1e-5)


def test_training_without_dropout_needs_no_key():
    network = mlp((2,), hidden_sizes=(8,))
    params = randomized(network)
    train = functools.partial(network.apply, train=True)
    assert jax.eval_shape(train, params, jnp.ones((1, 2)), jnp.ones(1)).shape == (1, 2)


def test_the_former_name_of_a_condition_has_its_former_meaning(network, params, batch):
    """A label out of range was absent."""
    x, t = batch
    label = jnp.array([-1, 0, 1, 2, 3, 0, 1, 2])
    with pytest.warns(DeprecationWarning, match="label= is now condition="):
        former = network.apply(params, x, t, label=label)
    inside = (label >= 0) & (label < 3)
    now = network.apply(params, x, t, condition=jnp.where(inside, label, 0), present=inside)
    np.testing.assert_array_equal(former, now)
    sde, kind = VPSDE(), NoisePrediction()
    for old, new in ((1, {"condition": 1}), (-1, {"condition": 0, "present": False}), (3, {})):
        with pytest.warns(DeprecationWarning, match="label= is now condition="):
            score_fn = make_score_fn(sde, network, kind, params, label=old)
        expected = make_score_fn(sde, network, kind, params, **new)(x[0], 0.5)
        np.testing.assert_allclose(score_fn(x[0], 0.5), expected, rtol=1e-5, atol=1e-6)


def test_a_condition_for_a_network_without_one_is_an_error():
    network = mlp((2,), hidden_sizes=(8,))
    params = randomized(network)
    with pytest.raises(ValueError, match="built without one; build it with num_classes"):
        network.apply(params, jnp.ones((1, 2)), jnp.ones(1), condition=jnp.zeros(1, int))
    with pytest.raises(ValueError, match="built without one; build it with num_classes"):
        make_score_fn(VPSDE(), network, NoisePrediction(), params, condition=0)


@pytest.mark.parametrize("x_shape, t_shape", [((3, 3), (3,)), ((3, 2), (2,)), ((3, 2, 1), (3,))])
def test_inputs_of_wrong_shapes_are_an_error_of_one_line(x_shape, t_shape):
    network = mlp((2,), hidden_sizes=(8,))
    params = randomized(network)
    with pytest.raises(ValueError, match=r"takes x \[b, 2\] and t \[b\]") as error:
        network.apply(params, jnp.ones(x_shape), jnp.ones(t_shape))
    assert "\n" not in str(error.value)


def test_init_is_deterministic_under_jit_and_differs_by_key():
    network = mlp((2,), hidden_sizes=(4,), embedding_dim=4)
    first, again, other = (jax.jit(network.init)(jax.random.key(seed)) for seed in (3, 3, 4))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert any(
        bool(jnp.any(a != b))
        for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(other), strict=True)
    )


def test_other_collections_than_params_are_an_error():
    class Counting(nn.Module):
        @nn.compact
        def __call__(self, x, t, *, label=None, train=False):
            self.variable("batch_stats", "mean", lambda: jnp.zeros(()))
            return x

    with pytest.raises(ValueError, match=r"also has .*batch_stats"):
        from_linen(Counting(), (2,)).init(jax.random.key(0))


def test_any_linen_module_with_the_right_call_is_a_score_network():
    class Linear(nn.Module):
        @nn.compact
        def __call__(self, x, t, *, label=None, train=False):
            return self.param("slope", nn.initializers.ones_init(), ()) * x * t[:, None]

    network = from_linen(Linear(), [2])
    params = network.init(jax.random.key(0))
    score_fn = make_score_fn(
        VPSDE(), network, NoisePrediction(time_label=lambda sde, t: jnp.asarray(t)), params
    )
    x = jnp.array([1.0, -2.0])
    np.testing.assert_allclose(score_fn(x, 1.0), -x / VPSDE().marginal(1.0).sigma, rtol=1e-6)
