"""Grids of samples during a training: of score models, with ``training.sample_every``."""

import jax
import numpy as np
import tiny

from score_sde.cli.config_file import read_config
from score_sde.evaluation.generation import generate, make_draw
from score_sde.evaluation.sample_grids import sample_grids
from score_sde.experiments.builders import build
from score_sde.experiments.classifier import ClassifierExperiment
from score_sde.training import init_state


def test_samples_are_drawn_every_sample_every_steps(tmp_path):
    config = tiny.config_of(tiny.TOY)
    with tiny.abstract_init():
        assert sample_grids(build(config), tmp_path) == ()
        config.training.sample_every = 10
        (hook,) = sample_grids(build(config), tmp_path)
        classifier = build(read_config("classifier/digits"), ClassifierExperiment)
    assert hook.every == 10 and not hook.first
    assert classifier.training.sample_every and sample_grids(classifier, tmp_path) == ()


def test_the_samples_come_from_the_third_key_of_the_run(tmp_path, monkeypatch):
    config = tiny.config_of(tiny.TOY)
    config.training.sample_every = 10
    drawn = []
    monkeypatch.setattr(
        "score_sde.evaluation.sample_grids.figure_of_samples",
        lambda folder, name, samples, data, scaling, num_columns: drawn.append(
            (folder, name, samples)
        ),
    )
    with tiny.quick_compilation():
        experiment = build(config)
        model = experiment.model
        (hook,) = sample_grids(experiment, tmp_path)
        state = init_state(model.params, experiment.optimizer)
        assert hook.run(state, 10) is None  # points are no image
        key = jax.random.split(jax.random.key(model.seed), 3)[2]
        draw = make_draw(model)
        expected = next(generate(draw, model.params, key, 64, 64)).x
    ((folder, name, samples),) = drawn
    assert (folder, name) == (tmp_path / "samples", "step_0000010")
    np.testing.assert_array_equal(samples, expected)
