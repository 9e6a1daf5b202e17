"""The noise-conditional classifier of Score-SDE in JAX: its layout, and its logits."""

import gzip
from pathlib import Path

import flax.serialization
import jax
import numpy as np
import pytest

import score_sde as ss
from score_sde.cli.config_file import read_config

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def config():
    config = read_config("classifier/cifar10_published")
    config.model.update(blocks_per_group=1, channel_multiplier=1)
    return config


@pytest.fixture
def checkpoint(tmp_path):
    data = gzip.decompress((GOLDEN / "flax_classifier.msgpack.gz").read_bytes())
    (tmp_path / "checkpoint_1").write_bytes(data)
    return tmp_path / "checkpoint_1"


def test_a_published_classifier_has_the_logits_of_the_original(checkpoint, config):
    classifier = ss.load(checkpoint, ss.NoisyClassifier, config=config)
    golden = np.load(GOLDEN / "flax_classifier.npz")
    apply = jax.jit(classifier.network.apply)
    found = apply(classifier.params, golden["x"], golden["sigma"])
    assert np.std(golden["logits"]) > 0.1
    error = np.linalg.norm(found - golden["logits"]) / np.linalg.norm(golden["logits"])
    assert error < 1e-4


@pytest.mark.parametrize(("edit", "message"), [
    (lambda tree: tree.pop("init_conv"), "no classifier of Score-SDE: it needs init_conv"),
    (lambda tree: tree.pop("Dense_1"), "the checkpoint lacks condition2"),
    (lambda tree: tree.update(Dense_3={}), "the network has no place for Dense_3"),
    (lambda tree: tree.update(WideResnetGroup_x={"WideResnetBlock_0": {}}), "WideResnetGroup_x"),
    (lambda tree: tree["WideResnetGroup_1"].clear(), "the checkpoint lacks group2_1"),
    (lambda tree: tree["Dense_2"].update(bias=np.zeros(3)), r"out/bias has the shape \(3,\)"),
    (lambda tree: tree.update(init_conv=np.zeros(3)), "checkpoint_1 is damaged"),
    (lambda tree: tree.update(init_conv={"kernel": {}}), "no place for parts of conv_in/kernel"),
    (lambda tree: tree.update(WideResnetGroup_0=np.zeros(3)), "checkpoint_1 is damaged"),
])  # fmt: skip
def test_another_tree_is_an_error_of_one_line(edit, message, checkpoint, config):
    tree = flax.serialization.msgpack_restore(checkpoint.read_bytes())
    edit(tree)
    checkpoint.write_bytes(flax.serialization.msgpack_serialize(tree))
    with pytest.raises(ValueError, match=message) as refusal:
        ss.load(checkpoint, ss.NoisyClassifier, config=config)
    assert "\n" not in str(refusal.value) and str(checkpoint) in str(refusal.value)


def test_a_classifier_is_no_score_model(checkpoint, config):
    with pytest.raises(ValueError, match="this is a classifier, not a score model"):
        ss.load(checkpoint, config=config)


@pytest.mark.parametrize("options", [{"mean": (0.5,)}, {"std": (1.0, 0.0, 1.0)}])
def test_means_and_deviations_are_one_for_each_channel(options):
    with pytest.raises(ValueError, match=r"^(mean=|std)"):
        ss.models.wideresnet((32, 32, 3), **options)
