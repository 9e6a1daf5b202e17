"""A score model as a config describes it, and its loss."""

import dataclasses

import jax
import numpy as np
import pytest
import tiny

from score_sde import VPSDE, make_score_fn
from score_sde.cli.config_file import read_config
from score_sde.data import Augmentation, Example
from score_sde.experiments.base import AnyExperiment
from score_sde.experiments.builders import build
from score_sde.models import Classifier, ScoreNetwork
from score_sde.objectives import DenoisingScoreMatching
from score_sde.training import Context


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    with tiny.quick_compilation():
        return build(
            read_config(str(tiny.config_file(tiny.TOY, tmp_path_factory.mktemp("config"))))
        )


def test_times_must_lie_before_the_end_of_the_sde(tmp_path):
    config = read_config(str(tiny.config_file(tiny.TOY, tmp_path)))
    config.sde.t_max = 0.5
    for section, key in (
        (config.eval, "eval.t_min"),
        (config.objective.time_sampling, "objective.time_sampling.t_min"),
    ):
        before, section.t_min = section.t_min, 0.5
        with (
            tiny.abstract_init(),
            pytest.raises(ValueError, match=rf"^{key}=0.5 must be less than sde.t_max=0.5$"),
        ):
            build(config)
        section.t_min = before


def test_the_score_of_a_model_is_that_of_its_parts(experiment):
    model = experiment.model
    x, t = jax.numpy.array([0.3, -0.2]), 0.4
    wanted = make_score_fn(model.sde, model.network, model.parameterization, model.params)(x, t)
    np.testing.assert_array_equal(model.score_fn(x, t), wanted)
    other = jax.tree.map(lambda leaf: leaf + 0.1, model.params)
    assert not np.array_equal(model.score_fn_of(other)(x, t), wanted)


def test_the_loss_of_an_example_is_a_pure_function_of_its_key(experiment):
    loss_fn, params = tiny.loss_of(experiment, train=True), experiment.model.params
    example = jax.numpy.asarray(experiment.source.train[0])
    values = [loss_fn(params, jax.random.key(seed), 0.5, example)[0] for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    gradient = jax.grad(lambda p: loss_fn(p, jax.random.key(0), 0.5, example)[0])(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))


def test_a_network_that_predicts_nothing_has_the_loss_of_pure_noise(experiment):
    """The last layer starts at zero, so the loss is the mean of squared noise: 1 within
    5 standard errors.

    It fails by chance in fewer than 1e-6 of all seeds, and the seed is fixed.
    """
    assert experiment.model.sde == VPSDE()
    keys = jax.random.split(jax.random.key(0), 4000)
    loss_fn, x = tiny.loss_of(experiment, train=False), jax.numpy.zeros(2)
    losses = jax.jit(jax.vmap(lambda key: loss_fn(experiment.model.params, key, 0.5, x)[0]))(keys)
    assert abs(losses.mean() - 1.0) < 5 * losses.std() / np.sqrt(len(keys))


def with_network(config, network):
    """A score model or classifier of digits whose network distinguishes left from right."""
    with tiny.abstract_init():
        experiment = build(config, AnyExperiment)
    model = dataclasses.replace(experiment.model, network=network, params={})
    return dataclasses.replace(experiment, model=model)


def score_experiment(flip):
    config = read_config("digits/vp")
    config.data.flip = flip
    ramp = jax.numpy.linspace(-1.0, 1.0, 8)[:, None]
    return with_network(
        config, ScoreNetwork(init=lambda key: {}, apply=lambda params, x, t, **options: ramp * x)
    )


def classifier_experiment(flip):
    config = read_config("classifier/digits")
    config.data.flip = flip

    def logits(params, x, sigma, **options):
        return x[:, :2, :5, 0].reshape(1, 10)

    return with_network(config, Classifier(init=lambda key: {}, apply=logits))


@pytest.mark.parametrize(
    ("make", "label"), [(score_experiment, ()), (classifier_experiment, (jax.numpy.array(3),))]
)
def test_training_alone_sees_images_from_either_side(make, label):
    """With the same key, the loss of the flipping experiment is that of the image or of
    its mirror image.
    """

    def compiled(flip, train):
        loss_fn = tiny.loss_of(make(flip), train=train)
        return jax.jit(lambda key, x: loss_fn({}, key, 0.5, x, *label)[0])

    straight, flipping, evaluating = (
        compiled(False, True),
        compiled(True, True),
        compiled(True, False),
    )
    image = jax.numpy.asarray(make(True).source.train[0])
    seen = set()
    for key in jax.random.split(jax.random.key(0), 16):
        plain, mirrored, found = (
            straight(key, image),
            straight(key, image[:, ::-1]),
            flipping(key, image),
        )
        assert plain != mirrored and found in (plain, mirrored)
        assert evaluating(key, image) == plain
        seen.add(bool(found == mirrored))
    assert seen == {True, False}


@pytest.mark.parametrize("name", ["toy/mixture", "digits/vp"])
def test_an_experiment_flips_only_if_it_is_told_to(name):
    with tiny.abstract_init():
        assert build(read_config(name)).augmentation == Augmentation(flip=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NearAverage(DenoisingScoreMatching):
    """The distance of the score from that of the averaged parameters, times the step."""

    def at_step(self, key, sde, score_fn_of, params, x0, t, context):
        score, averaged = (score_fn_of(each)(x0, t) for each in (params, context.ema_params))
        return context.step * jax.numpy.sum(jax.numpy.square(score - averaged))


def test_an_objective_may_see_the_step_and_the_averaged_parameters(experiment):
    loss_fn = dataclasses.replace(experiment, objective=NearAverage()).loss_fn(train=True)
    params = experiment.model.params
    other = jax.tree.map(lambda leaf: leaf + 0.1, params)
    example = Example(jax.numpy.asarray(experiment.source.train[0]), None)

    def loss(params, step, averaged):
        context = Context(jax.numpy.float32(step), averaged)
        return loss_fn(params, jax.random.key(0), 0.5, example, context)[0]

    assert loss(params, 3, params) == 0.0 < loss(params, 3, other)
    np.testing.assert_allclose(loss(params, 6, other), 2 * loss(params, 3, other), rtol=1e-6)
