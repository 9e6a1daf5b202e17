"""The seal of a checkpoint: what has changed by one bit has another fingerprint, and
what has not has the same.
"""

import copy
import json

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st
from jax.sharding import PartitionSpec as P

from score_sde.training.checkpoints.seal import (
    DamagedError,
    arrays_of,
    check_arrays,
    check_config,
    check_seal,
    fingerprints,
    seal_of,
)
from score_sde.training.mesh import device_mesh

TREES = {
    "state": {"w": jnp.arange(6.0).reshape(2, 3), "step": jnp.int32(4)},
    "ema_params": {"b": jnp.ones(3)},
}
CONFIG = {"sde": {"beta_min": 0.1}, "seed": 0}
TYPES = [
    np.float32,
    np.int32,
    np.uint32,
    np.int8,
    np.uint8,
    np.bool_,
    np.float16,
    ml_dtypes.bfloat16,
]


def mix(x):
    x = (x ^ (x >> 16)) * 0x85EBCA6B % 2**32
    x = (x ^ (x >> 13)) * 0xC2B2AE35 % 2**32
    return x ^ (x >> 16)


def test_a_fingerprint_written_out():
    values = np.array([[1.5, -2.0], [0.0, 3e-5]], np.float32)
    words = values.view(np.uint32).ravel()
    expected = sum(mix(int(word) ^ mix(place)) for place, word in enumerate(words)) % 2**32
    assert fingerprints({"w": values}) == {"w": expected}


@pytest.mark.parametrize("dtype", TYPES)
def test_every_bit_of_every_type_counts(dtype):
    values = np.array([0, 1, 1, 0, 1, 0], dtype)
    expected = fingerprints([values])
    width = 1 if dtype is np.bool_ else 8 * values.dtype.itemsize
    changed = []
    for place in range(len(values)):
        for bit in range(width):
            damaged = values.copy()
            raw = damaged.view(np.uint8)
            raw[place * values.dtype.itemsize + bit // 8] ^= np.uint8(1 << bit % 8)
            changed.append(damaged)
    found = [fingerprints([damaged]) for damaged in changed]
    assert all(print_ != expected for print_ in found)


@given(st.permutations(range(8)))
def test_the_order_of_values_counts(order):
    values = np.arange(8, dtype=np.float32)
    assert (fingerprints([values[list(order)]]) == fingerprints([values])) == (
        list(order) == list(range(8))
    )


def test_where_the_values_lie_does_not_count():
    values = np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32)
    mesh = device_mesh(fsdp=4)
    expected = fingerprints([values])
    for spec in (P(), P("data"), P("fsdp"), P("data", "fsdp"), P(None, ("data", "fsdp"))):
        assert fingerprints([jax.device_put(values, jax.NamedSharding(mesh, spec))]) == expected


def test_names_types_and_shapes():
    assert arrays_of(TREES) == {
        "state/w": "float32[2, 3]",
        "state/step": "int32[]",
        "ema_params/b": "float32[3]",
    }
    assert arrays_of([(jnp.zeros(1),)]) == {"0/0": "float32[1]"}


def test_what_was_sealed_is_whole_also_after_json():
    seal = json.loads(
        json.dumps(seal_of(TREES, CONFIG, {"eval_loss": 0.5}, {"versions": {"jax": "0.10"}}))
    )
    found = check_seal(seal)
    check_arrays(found, TREES)
    check_arrays(found, {"ema_params": TREES["ema_params"]})
    check_config(found, CONFIG)
    assert found["about"] == {"versions": {"jax": "0.10"}}


def test_what_has_changed_is_named():
    seal = seal_of(TREES, CONFIG, {}, {})
    with pytest.raises(DamagedError, match=r"^state/w is not what was saved$"):
        check_arrays(
            seal,
            {**TREES, "state": {**TREES["state"], "w": TREES["state"]["w"].at[1, 1].add(1e-6)}},
        )
    with pytest.raises(DamagedError, match=r"^its config is not what was saved$"):
        check_config(seal, {**CONFIG, "seed": 1})


@pytest.mark.parametrize("key", ["arrays", "prints", "config", "metrics", "about", "sum"])
def test_a_seal_that_has_changed_is_broken(key):
    seal = copy.deepcopy(seal_of(TREES, CONFIG, {}, {}))
    seal[key] = {"other": 1} if isinstance(seal[key], dict) else "0" * 64
    for broken in (
        seal,
        {name: value for name, value in seal.items() if name != key},
        None,
        [],
        "text",
    ):
        with pytest.raises(DamagedError, match=r"^its seal is broken$"):
            check_seal(broken)
