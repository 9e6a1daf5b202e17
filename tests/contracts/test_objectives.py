"""Every objective of the table is one integral over time, however its times are drawn."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import PLANE, keys

from score_sde.experiments.tables import OBJECTIVES
from score_sde.objectives import (
    DiscreteTime,
    FixedTime,
    ImportanceSampling,
    NoisyClassification,
    UniformTime,
)
from score_sde.sdes import EDMSDE, VPSDE

TIMED = [
    name
    for name, make in OBJECTIVES.items()
    if "time_sampling" in inspect.signature(make).parameters
]
MEANS = jnp.array([[-1.0, 0.5], [1.0, -0.5]])


def wrong_score(x, t):
    """A score whose error depends on the time."""
    del t
    return -0.3 * (x - 2.0)


def wrong_classifier(x, t):
    """The log-probabilities of two classes by their distances, as if there were no noise."""
    del t
    return jax.nn.log_softmax(-0.5 * jnp.sum(jnp.square(x - MEANS), axis=-1))


def losses(name, sampling, num=32_768):
    """Of single examples, each at a time and with a noise of its own."""
    sde, objective = EDMSDE(sigma_max=2.0), OBJECTIVES[name](time_sampling=sampling)

    def loss(key):
        data_key, key = jax.random.split(key)
        if name != "classification":
            return objective(key, sde, wrong_score, PLANE.sample(data_key, 1)[0])
        label = jax.random.bernoulli(data_key).astype(int)
        return objective(key, sde, wrong_classifier, MEANS[label], label)[0]

    return np.asarray(jax.jit(jax.vmap(loss))(keys(2, num)), np.float64)


@pytest.mark.parametrize("name", TIMED)
def test_the_expected_loss_does_not_depend_on_how_times_are_drawn(name):
    """Two means of 32,768 losses are within 5 standard errors: one false alarm in 10^6
    for each objective; the key is fixed. Without the weights of importance sampling
    they would be 8 apart or more.
    """
    uniform, importance = (
        losses(name, kind(t_min=0.01)) for kind in (UniformTime, ImportanceSampling)
    )
    error = np.sqrt((uniform.var() + importance.var()) / uniform.size)
    assert abs(importance.mean() - uniform.mean()) < 5 * error


@pytest.mark.parametrize("sampling", [FixedTime(t=0.0), DiscreteTime()])
def test_classification_at_a_time_without_noise_is_refused(sampling):
    """Its network is conditioned on the logarithm of the noise level."""
    with pytest.raises(
        ValueError, match=r"^the objective needs noise at its first time, but sigma is 0 at t=0\.0$"
    ):
        NoisyClassification(time_sampling=sampling).check(VPSDE())
