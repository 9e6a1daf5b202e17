"""Classifiers of noisy examples: trained by the command line, loaded, and good for guidance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from score_sde import VPSDE, ClassifierExperiment, NoisyClassifier, build, load
from score_sde.cli import main
from score_sde.cli.config_file import read_config

SMALLER = [
    "--config.training.num_steps=4", "--config.training.batch_size="
"8", "--config.training.log_every=2",
    "--config.training.eval_every=2", "--config.training.checkpoint_every="
"2", "--config.model.embedding_dim=4",
]  # fmt: skip


@pytest.mark.slow
def test_a_classifier_is_trained_and_loaded(tmp_path):
    with tiny.quick_compilation():
        text = tiny.run(
            "train", "--config=classifier/digits", f"--workdir={tmp_path / 'run'}", *SMALLER
        )
    assert "trained  4 steps" in text
    metrics = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert '"accuracy"' in metrics and '"eval_accuracy"' in metrics
    classifier = load(tmp_path / "run", NoisyClassifier)
    assert classifier.step == 4 and classifier.sde == VPSDE() and classifier.shape == (8, 8, 1)
    with tiny.quick_compilation():
        log_prob = jax.jit(classifier.log_prob_fn)(jnp.zeros((8, 8, 1)), 0.5)
    np.testing.assert_allclose(jax.nn.logsumexp(log_prob), 0.0, atol=1e-5)
    with pytest.raises(
        ValueError,
        match=r"this is a classifier, not a score model: load\(path, NoisyClassifier\) takes it",
    ):
        load(tmp_path / "run")


def test_a_score_model_is_no_classifier():
    with pytest.raises(ValueError, match="this is a score model, not a classifier"):
        load(tiny.toy_run(), NoisyClassifier)


@pytest.mark.parametrize(("path", "value", "message"), [
    ("model.name", "unet", "model 'unet' gives ScoreNetwork where Classifier is expected"),
    ("model.num_classes", 9, "model.num_classes=9 takes labels from 0 to 8, the data have labels "
"from 0 to 9"),
    ("sampling", {"name": "heun"}, "the config of a classifier .* has an unknown section "
"'sampling'"),
    ("data.source", "swiss_roll", "the classifier takes images"),
])  # fmt: skip
def test_settings_that_make_no_classifier_are_errors(path, value, message):
    config = read_config("classifier/digits")
    del config.model.fourier_scale, config.model.channel_multiplier, config.model.blocks_per_group
    del config.model.embedding_dim
    config.unlock()
    section, _, key = path.partition(".")
    if key:
        config[section][key] = value
    else:
        config[section] = value
    if value == "unet":
        del config.model.num_classes
    with pytest.raises(ValueError, match=message), tiny.abstract_init():
        build(config, ClassifierExperiment)


def test_data_without_labels_are_an_error(tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((20, 8, 8), np.uint8))
    config = read_config("classifier/digits")
    config.data = {"source": f"npy:{tmp_path / 'images.npy'}"}
    with (
        pytest.raises(ValueError, match="a classifier needs data with labels"),
        tiny.abstract_init(),
    ):
        build(config, ClassifierExperiment)


def test_a_score_model_takes_no_classifier():
    config = read_config("digits/vp")
    config.model = {"name": "wideresnet"}
    with pytest.raises(
        ValueError, match="model 'wideresnet' gives Classifier where ScoreNetwork is expected"
    ):
        build(config)


@pytest.mark.slow
def test_a_trained_classifier_knows_clean_digits_and_doubts_noise(tmp_path):
    """The whole config: 0.993 of the clean held-out digits were measured; the bound is
    far below.
    """
    assert main(["train", "--config=classifier/digits", f"--workdir={tmp_path / 'run'}"]) == 0
    classifier = load(tmp_path / "run", NoisyClassifier)
    source = build(classifier.config, ClassifierExperiment).source
    x0 = classifier.scaling.to_model(jax.random.key(0), jnp.asarray(source.test))
    log_prob = jax.jit(jax.vmap(classifier.log_prob_fn, (0, None)))
    clean = log_prob(x0, 1e-3)
    assert np.mean(np.argmax(clean, axis=-1) == source.test_labels) > 0.93
    noise = log_prob(jax.random.normal(jax.random.key(1), x0.shape), 1.0)
    entropy = -np.sum(np.exp(noise) * noise, axis=-1)
    assert np.mean(entropy) > 0.8 * np.log(10)
