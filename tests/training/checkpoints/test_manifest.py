"""The manifest of a checkpoint: a value that was not saved is found, and named."""

import copy
import json

import jax.numpy as jnp
import pytest

from score_sde.training.checkpoints.manifest import (
    DamagedError,
    arrays_of,
    check_arrays,
    check_config,
    check_manifest,
    manifest_of,
)

TREES = {
    "state": {"w": jnp.arange(6.0).reshape(2, 3), "step": jnp.int32(4)},
    "ema_params": {"b": jnp.ones(3)},
}
CONFIG = {"sde": {"beta_min": 0.1}, "seed": 0}


def test_arrays_have_names_types_and_shapes():
    assert arrays_of(TREES) == {
        "state/w": "float32[2, 3]",
        "state/step": "int32[]",
        "ema_params/b": "float32[3]",
    }
    assert arrays_of([(jnp.zeros(1),)]) == {"0/0": "float32[1]"}


def test_a_manifest_read_from_json_fits_what_was_saved():
    manifest = manifest_of(TREES, CONFIG, {"eval_loss": 0.5}, {"versions": {"jax": "0.10"}})
    found = check_manifest(json.loads(json.dumps(manifest)))
    check_arrays(found, TREES)
    check_arrays(found, {"ema_params": TREES["ema_params"]})
    check_config(found, CONFIG)
    assert found["about"] == {"versions": {"jax": "0.10"}}


def test_a_changed_array_or_config_is_named():
    manifest = manifest_of(TREES, CONFIG, {}, {})
    changed = {**TREES["state"], "w": TREES["state"]["w"].at[1, 1].add(1e-6)}
    with pytest.raises(DamagedError, match=r"^state/w is not what was saved$"):
        check_arrays(manifest, {**TREES, "state": changed})
    with pytest.raises(DamagedError, match=r"^its config is not what was saved$"):
        check_config(manifest, {**CONFIG, "seed": 1})


@pytest.mark.parametrize("key", ["arrays", "prints", "config", "metrics", "about", "sum"])
def test_a_changed_manifest_is_broken(key):
    manifest = copy.deepcopy(manifest_of(TREES, CONFIG, {}, {}))
    manifest[key] = {"other": 1} if isinstance(manifest[key], dict) else "0" * 64
    without = {name: value for name, value in manifest.items() if name != key}
    for broken in (manifest, without, None, [], "text"):
        with pytest.raises(DamagedError, match=r"^its manifest is broken$"):
            check_manifest(broken)
