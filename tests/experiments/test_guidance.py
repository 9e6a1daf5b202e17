"""Guidance of a config, and training without conditions."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from score_sde.conditioning.guidance import Guidance
from score_sde.experiments.builders import build
from score_sde.models import ClassLabel, ScoreNetwork

CONFIG = tiny.TOY.replace("embedding_dim=4", "embedding_dim=4, num_classes=8")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stronger(Guidance):
    """A score times a number."""

    factor: float = 2.0

    def __call__(self, score_fn_of, params, condition):
        score_fn = score_fn_of(params, condition)
        assert score_fn_of.sde.t_max == 1.0
        return lambda x, t: self.factor * score_fn(x, t)


def experiment(**objective):
    config = tiny.config_of(CONFIG)
    config.objective.update(objective)
    config.sampling.guidance = {"name": f"{__name__}:Stronger", "factor": 3.0}
    with tiny.abstract_init():
        return build(config)


def test_a_config_may_guide_its_draws():
    model = experiment().model
    params = jax.tree.map(lambda leaf: jnp.ones_like(leaf), model.params)
    assert model.drawing.guidance == Stronger(factor=3.0)
    unguided = dataclasses.replace(model, drawing=dataclasses.replace(model.drawing, guidance=None))
    key = jax.random.key(0)
    wanted = unguided.draw(params, key, 1, guidance=Stronger(factor=3.0)).x
    np.testing.assert_array_equal(model.draw(params, key, 1).x, wanted)
    assert not np.allclose(wanted, unguided.draw(params, key, 1).x)


def test_conditions_are_absent_as_often_as_the_objective_says():
    """Of 4000 examples 1000 +- 5 standard deviations: one false alarm in 10^6."""
    found = experiment(condition_dropout=0.25)

    def apply(params, x, t, *, condition, present=None, key=None, train=False):
        absent = jnp.zeros(len(x), bool) if present is None else ~present
        return jnp.where(absent, jnp.nan, 0.0)[:, None] + x

    network = ScoreNetwork(lambda key: {}, apply, condition=ClassLabel(num_classes=8))
    found = dataclasses.replace(found, model=dataclasses.replace(found.model, network=network))
    keys = jax.random.split(jax.random.key(0), 4000)

    def absent(*, train):
        loss = tiny.loss_of(found, train=train)
        losses = jax.vmap(lambda key: loss({}, key, 0.5, jnp.zeros(2), 1)[0])(keys)
        return np.isnan(losses).sum()

    assert abs(absent(train=True) - 1000) <= 137
    assert absent(train=False) == 0


def test_a_model_without_conditions_has_none_to_drop():
    config = tiny.config_of(tiny.TOY)
    config.objective.condition_dropout = 0.1
    with tiny.abstract_init(), pytest.raises(ValueError) as error:
        build(config)
    assert str(error.value) == (
        "objective.condition_dropout=0.1 needs a network with a condition, such as "
        "model.num_classes"
    )
