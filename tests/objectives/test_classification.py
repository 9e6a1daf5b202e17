"""The noisy cross-entropy: its value, its minimiser on a mixture with known posteriors,
and what it does not change.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from score_sde.objectives import NoisyClassification, UniformTime
from score_sde.sdes import VESDE, VPSDE, SubVPSDE

MEANS = jnp.array([[-1.0, 0.5], [1.0, -0.5]])
STD = 0.4


def posterior(sde, weight=1.0):
    """``log p(y | x_t)`` for two Gaussians of equal weight; ``weight`` other than 1 spoils it."""

    def log_prob_fn(x, t):
        alpha, sigma = sde.marginal(t)
        distances = jnp.sum(jnp.square(x - alpha * MEANS), axis=-1)
        return jax.nn.log_softmax(
            -0.5 * weight * distances / (jnp.square(alpha * STD) + jnp.square(sigma))
        )

    return log_prob_fn


def mean_loss(sde, log_prob_fn, size=8192):
    """The same draws for every function."""
    label_key, data_key, key = jax.random.split(jax.random.key(0), 3)
    labels = jax.random.randint(label_key, (size,), 0, 2)
    x0 = MEANS[labels] + STD * jax.random.normal(data_key, (size, 2))
    objective = NoisyClassification(time_sampling=UniformTime(t_min=1e-3))
    losses, found = jax.vmap(lambda k, x, y: objective(k, sde, log_prob_fn, x, y))(
        jax.random.split(key, size), x0, labels
    )
    return np.asarray(losses), np.asarray(found)


@pytest.mark.parametrize(
    "sde", [VPSDE(), SubVPSDE(), VESDE(sigma_max=5.0)], ids=["vp", "subvp", "ve"]
)
def test_the_posterior_has_the_least_loss(sde):
    """Paired differences over 8,192 draws: each more than 5 standard errors above zero,
    one false alarm in 10^6.
    """
    best, found = mean_loss(sde, posterior(sde))
    for weight in (0.5, 2.0):
        worse, _ = mean_loss(sde, posterior(sde, weight))
        difference = worse - best
        assert difference.mean() > 5 * difference.std() / np.sqrt(difference.size)
    assert 0.5 < found.mean() < 1.0 and set(np.unique(found)) == {0.0, 1.0}


def test_the_value_at_a_time():
    sde, x0 = VPSDE(), jnp.array([1.0, -0.5])
    uniform = lambda x, t: jnp.full(4, -jnp.log(4.0))  # noqa: E731
    loss, accuracy = NoisyClassification().at_time(
        jax.random.key(0), sde, uniform, x0, jnp.array(2), 0.5
    )
    np.testing.assert_allclose(loss, np.log(4.0), rtol=1e-6)
    assert accuracy == 0.0
    loss, accuracy = NoisyClassification().at_time(
        jax.random.key(0), sde, posterior(sde), x0, jnp.array(1), 1e-4
    )
    assert loss < 0.05 and accuracy == 1.0
