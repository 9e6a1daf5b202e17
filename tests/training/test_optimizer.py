"""Adam, its warm-up and its clipping; all optimizers are in tests/contracts."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from score_sde.training import adam


def updates(optimizer, grads, params):
    """The parameters after each of several gradients."""
    opt_state, found = optimizer.init(params), []
    for grad in grads:
        update, opt_state = optimizer.update(grad, opt_state, params)
        params = optax.apply_updates(params, update)
        found.append(params)
    return found


def test_adam_is_its_formula():
    lr, beta1, beta2, eps, decay, warmup, clip = 0.1, 0.8, 0.95, 1e-6, 0.2, 3, 1.0
    grads = [
        np.array([3.0, 4.0]),
        np.array([0.1, -0.2]),
        np.array([-1.0, 0.5]),
        np.array([0.3, 0.3]),
    ]
    x, m, v = np.array([1.0, -2.0]), np.zeros(2), np.zeros(2)
    expected = []
    for n, grad in enumerate(grads):
        norm = np.linalg.norm(grad)
        grad = grad * min(1.0, clip / norm)
        m, v = beta1 * m + (1 - beta1) * grad, beta2 * v + (1 - beta2) * grad**2
        direction = m / (1 - beta1 ** (n + 1)) / (np.sqrt(v / (1 - beta2 ** (n + 1))) + eps)
        x = x - lr * min(n / warmup, 1) * (direction + decay * x)
        expected.append(x)
    optimizer = adam(
        lr=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=decay, warmup=warmup, grad_clip=clip
    )
    found = updates(optimizer, [jnp.asarray(g, jnp.float32) for g in grads], jnp.array([1.0, -2.0]))
    np.testing.assert_allclose(np.array(found), expected, rtol=1e-5)


def test_warmup_starts_at_zero_and_no_warmup_starts_at_once():
    grad, params = [jnp.ones(2)], jnp.zeros(2)
    np.testing.assert_array_equal(updates(adam(lr=0.1, warmup=10), grad, params)[0], [0.0, 0.0])
    np.testing.assert_allclose(
        updates(adam(lr=0.1, warmup=0), grad, params)[0], [-0.1, -0.1], rtol=1e-5
    )


@pytest.mark.parametrize("off", [None, 0.0, -1.0])
def test_clipping_can_be_switched_off(off):
    # A large eps makes the first update proportional to the gradient that arrives.
    options = {"lr": 1.0, "eps": 1e6, "warmup": 0}
    free = updates(adam(grad_clip=off, **options), [jnp.array([30.0, 40.0])], jnp.zeros(2))[0]
    clipped = updates(adam(grad_clip=5.0, **options), [jnp.array([30.0, 40.0])], jnp.zeros(2))[0]
    np.testing.assert_allclose(free / clipped, 10.0, rtol=1e-3)


@pytest.mark.parametrize("beta", [0.999, 0.99999, 0.9999999])
@pytest.mark.parametrize("name", ["beta1", "beta2"])
def test_a_decay_close_to_one_biases_no_moment(name, beta):
    """Of equal gradients all updates are of the size of the rate."""
    options = {"lr": 0.5, "eps": 1e-12, "warmup": 0, "grad_clip": None, name: beta}
    found = updates(adam(**options), [jnp.full(1, 0.3)] * 3, jnp.zeros(1))
    np.testing.assert_allclose(np.ravel(found), [-0.5, -1.0, -1.5], rtol=2e-3)


def test_an_optimizer_gives_the_same_under_jit(toy):
    optimizer = toy.optimizer()
    grads = jax.tree.map(jnp.ones_like, toy.params())
    opt_state = optimizer.init(toy.params())
    plain, jitted = optimizer.update, jax.jit(optimizer.update)
    for ours, theirs in zip(
        jax.tree.leaves(plain(grads, opt_state, toy.params())),
        jax.tree.leaves(jitted(grads, opt_state, toy.params())),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"lr": -1e-3},
        {"lr": float("nan")},
        {"lr": 1e-3, "beta1": 1.0},
        {"lr": 1e-3, "beta2": -0.1},
        {"lr": 1e-3, "beta2": 1 - 1e-9},
        {"lr": 1e-3, "eps": 0.0},
        {"lr": 1e-3, "weight_decay": -1.0},
        {"lr": 1e-3, "warmup": -1},
    ],
)
def test_wrong_values_are_named_in_one_line(wrong):
    with pytest.raises(ValueError, match=f"^{list(wrong)[-1]}=.* must be .*$") as caught:
        adam(**wrong)
    assert "\n" not in str(caught.value)
