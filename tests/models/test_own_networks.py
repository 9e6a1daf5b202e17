"""Own networks: flax.linen, flax.nnx, equinox, or plain functions."""

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import score_sde as ss
from score_sde.models import ClassLabel, from_functions
from score_sde.parameterization import NoisePrediction


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x, t, *, train=False):
        h = jnp.tanh(nn.Dense(8, name="a")(jnp.concatenate([x, t[:, None]], 1)))
        return nn.Dense(2, name="b")(h)


class Nnx(nnx.Module):
    def __init__(self, *, rngs, rate=0.0):
        self.a, self.b = nnx.Linear(3, 8, rngs=rngs), nnx.Linear(8, 2, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)

    def __call__(self, x, t):
        h = jnp.tanh(self.a(jnp.concatenate([x, t[:, None]], 1)))
        return self.b(self.dropout(h))


class Eqx(eqx.Module):
    a: eqx.nn.Linear
    b: eqx.nn.Linear
    dropout: eqx.nn.Dropout

    def __init__(self, key, rate=0.0):
        first, second = jax.random.split(key)
        self.a, self.b = eqx.nn.Linear(3, 8, key=first), eqx.nn.Linear(8, 2, key=second)
        self.dropout = eqx.nn.Dropout(rate)

    def __call__(self, x, t, *, key=None):
        h = jnp.tanh(self.a(jnp.append(x, t)))
        return self.b(self.dropout(h, key=key))


def plain_init(key):
    a, b = jax.random.split(key)
    return [
        (0.5 * jax.random.normal(a, (3, 8)), jnp.zeros(8)),
        (0.5 * jax.random.normal(b, (8, 2)), jnp.zeros(2)),
    ]


def plain_apply(params, x, t):
    (wa, ba), (wb, bb) = params
    return jnp.tanh(jnp.concatenate([x, t[:, None]], 1) @ wa + ba) @ wb + bb


NETWORKS = {
    "linen": lambda: ss.from_linen(Linen(), (2,)),
    "nnx": lambda: ss.from_nnx(Nnx),
    "equinox": lambda: ss.from_equinox(Eqx),
    "plain": lambda: from_functions(plain_init, plain_apply),
}


def with_weights(kind, layers):
    """Parameters of a kind of network with these weights."""
    (wa, ba), (wb, bb) = layers
    if kind in ("linen", "nnx"):
        return {"a": {"kernel": wa, "bias": ba}, "b": {"kernel": wb, "bias": bb}}
    if kind == "equinox":
        params = ss.from_equinox(Eqx).init(jax.random.key(0))
        where = lambda m: (m.a.weight, m.a.bias, m.b.weight, m.b.bias)  # noqa: E731
        return eqx.tree_at(where, params, (wa.T, ba, wb.T, bb))
    return layers


@pytest.mark.parametrize("kind", ["linen", "nnx", "equinox"])
def test_equal_weights_give_the_same_score(kind):
    layers = plain_init(jax.random.key(3))
    x, t = jax.random.normal(jax.random.key(1), (5, 2)), jnp.linspace(0.1, 1.0, 5)

    def scores(kind):
        network, params = NETWORKS[kind](), with_weights(kind, layers)
        score = ss.make_score_fn(ss.VPSDE(), network, NoisePrediction(), params)
        return jax.jit(jax.vmap(score))(x, t)

    np.testing.assert_allclose(scores(kind), scores("plain"), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", NETWORKS)
def test_fit_trains_it_to_samples_and_likelihoods(kind):
    data = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
    network = (plain_init, plain_apply) if kind == "plain" else NETWORKS[kind]()
    options = {"num_steps": 3, "batch_size": 16, "progress": False}
    model = ss.fit(jax.random.key(0), ss.VPSDE(), network, data, **options)
    start = jax.tree.leaves(network[0](jax.random.key(0)))
    assert any(
        np.abs(a - b).max() > 0 for a, b in zip(jax.tree.leaves(model.params), start, strict=True)
    )
    x = ss.sample_many(jax.random.key(1), model, 4, sampler=ss.Heun(num_steps=3))
    assert x.shape == (4, 2) and np.isfinite(x).all()
    found = model.log_likelihood(model.params, jax.random.key(2), data[0])
    assert np.isfinite(found.log_prob if hasattr(found, "log_prob") else found[0])


@pytest.mark.parametrize("kind", ["nnx", "equinox"])
def test_each_key_makes_new_parameters_and_a_module_has_its_own(kind):
    network = NETWORKS[kind]()
    first, again, other = (jax.tree.leaves(network.init(jax.random.key(k))) for k in (0, 0, 1))
    np.testing.assert_array_equal(first[-1], again[-1])
    assert any((a != b).any() for a, b in zip(first, other, strict=True))
    made = Nnx(rngs=nnx.Rngs(5)) if kind == "nnx" else Eqx(jax.random.key(5))
    own = ss.from_nnx(made) if kind == "nnx" else ss.from_equinox(made)
    for a, b in zip(
        jax.tree.leaves(own.init(jax.random.key(0))),
        jax.tree.leaves(own.init(jax.random.key(1))),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["nnx", "equinox"])
def test_dropout_depends_on_the_key_and_is_off_outside_training(kind):
    network = (
        ss.from_nnx(lambda rngs: Nnx(rngs=rngs, rate=0.5))
        if kind == "nnx"
        else ss.from_equinox(lambda key: Eqx(key, rate=0.5))
    )
    params, x, t = network.init(jax.random.key(0)), jnp.ones((6, 2)), jnp.ones(6)

    def run(seed, train=True):
        return network.apply(params, x, t, key=jax.random.key(seed), train=train)

    np.testing.assert_array_equal(run(0), run(0))
    assert (run(0) != run(1)).any() and (run(0)[0] != run(0)[1]).any()
    np.testing.assert_array_equal(run(0, train=False), network.apply(params, x, t))
    with pytest.raises(ValueError, match="train=True needs a key"):
        network.apply(params, x, t, train=True)


def test_state_besides_parameters_is_an_error_of_one_line():
    class Normed(nnx.Module):
        def __init__(self, rngs):
            self.norm = nnx.BatchNorm(2, rngs=rngs)

        def __call__(self, x, t):
            return self.norm(x)

    class NormedEqx(eqx.Module):
        norm: eqx.nn.BatchNorm

        def __call__(self, x, t):
            return x

    with pytest.raises(ValueError, match=r"also has BatchStat: .*GroupNorm") as caught:
        ss.from_nnx(Normed)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="may have no state"):
        ss.from_equinox(lambda key: NormedEqx(eqx.nn.BatchNorm(2, "batch", mode="batch")))
    with pytest.raises(ValueError, match="takes a module"):
        ss.from_equinox(lambda key: (1, 2))


@pytest.mark.parametrize(
    "make", [lambda c: ss.from_nnx(Nnx, condition=c), lambda c: ss.from_equinox(Eqx, condition=c)]
)
def test_a_module_without_an_argument_for_its_condition_is_an_error(make):
    with pytest.raises(ValueError, match="has no argument 'condition'"):
        make(ClassLabel(num_classes=3))


def test_plain_functions_get_only_the_keywords_that_they_take():
    network = from_functions(plain_init, lambda params, x, t, train: x if train else 2 * x)
    x = jnp.ones((1, 2))
    np.testing.assert_array_equal(network.apply([], x, x[:, 0], key=None, train=False), 2 * x)
    with pytest.raises(ValueError, match="no argument 'condition'"):
        network.apply([], x, x[:, 0], condition=jnp.zeros(1, int), train=False)
