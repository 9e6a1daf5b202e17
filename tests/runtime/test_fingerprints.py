"""Fingerprints: a value that changed by one bit has another, and the same value always
has the one that files of earlier versions hold.
"""

import hashlib
import json
import zlib

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st
from jax.sharding import PartitionSpec as P
from launched import finished, together

from score_sde.runtime import fingerprints
from score_sde.runtime.fingerprints import (
    array_checksum,
    array_fingerprints,
    digest,
    digest_with_arrays,
    named_leaves,
    type_and_shape,
)
from score_sde.training.mesh import device_mesh

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
VALUES = np.array([[1.5, -2.0], [0.0, 3e-5]], np.float32)
PLAIN = {"a": 1, "b": {"c": 2.5, "d": None}}
PARAMS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": [np.ones(2, np.int32)]}


def mix(x):
    x = (x ^ (x >> 16)) * 0x85EBCA6B % 2**32
    x = (x ^ (x >> 13)) * 0xC2B2AE35 % 2**32
    return x ^ (x >> 16)


def test_leaves_are_named_by_keys_indices_and_attributes():
    tree = {"state": ({"w": 1}, [2, 3]), "ema": jax.ShapeDtypeStruct((2,), jnp.float32)}
    assert list(named_leaves(tree)) == ["ema", "state/0/w", "state/1/0", "state/1/1"]


@pytest.mark.parametrize("dtype", TYPES)
def test_types_and_shapes_of_numpy_and_jax_have_the_same_names(dtype):
    array = np.zeros((2, 3), dtype)
    assert type_and_shape(array) == type_and_shape(jnp.asarray(array))
    assert type_and_shape(array) == f"{np.dtype(dtype).name}[2, 3]"


def test_the_fingerprint_of_an_array_is_its_formula():
    words = VALUES.view(np.uint32).ravel()
    expected = sum(mix(int(word) ^ mix(place)) for place, word in enumerate(words)) % 2**32
    assert array_fingerprints({"w": VALUES}) == {"w": expected}


def test_the_checksum_of_an_array_is_the_crc_of_its_type_shape_and_bytes():
    assert array_checksum(VALUES) == zlib.crc32(b"float32[2, 2]" + VALUES.tobytes())
    assert array_checksum(VALUES.T) == array_checksum(VALUES.T.copy())


def test_a_digest_is_the_sha_256_of_canonical_json():
    text = '{"a":1,"b":{"c":2.5,"d":null}}'
    assert digest(PLAIN) == hashlib.sha256(text.encode()).hexdigest()
    assert digest(dict(reversed(PLAIN.items()))) == digest(PLAIN)


def test_a_digest_with_arrays_continues_that_of_the_plain_values():
    expected = hashlib.sha256(json.dumps(PLAIN, separators=(",", ":")).encode())
    for name, value in (("['a']", PARAMS["a"]), ("['b'][0]", PARAMS["b"][0])):
        expected.update(f"{name}:{value.dtype}{list(value.shape)}".encode())
        expected.update(value.tobytes())
    assert digest_with_arrays(PLAIN, PARAMS) == expected.hexdigest()


@pytest.mark.parametrize("dtype", TYPES)
def test_every_bit_of_every_type_counts(dtype):
    values = np.array([0, 1, 1, 0, 1, 0], dtype)
    expected = array_fingerprints([values])
    width = 1 if dtype is np.bool_ else 8 * values.dtype.itemsize
    for place in range(len(values)):
        for bit in range(width):
            damaged = values.copy()
            raw = damaged.view(np.uint8)
            raw[place * values.dtype.itemsize + bit // 8] ^= np.uint8(1 << bit % 8)
            assert array_fingerprints([damaged]) != expected
            assert array_checksum(damaged) != array_checksum(values)


@given(st.permutations(range(8)))
def test_the_order_of_values_counts(order):
    values = np.arange(8, dtype=np.float32)
    is_same = list(order) == list(range(8))
    moved = values[list(order)]
    assert (array_fingerprints([moved]) == array_fingerprints([values])) == is_same
    assert (array_checksum(moved) == array_checksum(values)) == is_same


def test_the_devices_of_the_values_do_not_count():
    values = np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32)
    mesh = device_mesh(fsdp=4)
    expected = array_fingerprints([values])
    for spec in (P(), P("data"), P("fsdp"), P("data", "fsdp"), P(None, ("data", "fsdp"))):
        placed = jax.device_put(values, jax.NamedSharding(mesh, spec))
        assert array_fingerprints([placed]) == expected


@pytest.mark.parametrize("dtype", TYPES)
def test_a_program_on_the_devices_computes_what_numpy_computes(dtype, monkeypatch):
    values = np.random.default_rng(0).normal(size=(8, 3, 5)).astype(dtype)
    placed = jax.device_put(values, jax.NamedSharding(device_mesh(fsdp=4), P("fsdp")))
    expected = array_fingerprints([values, values.T, values[0, 0, 0]])
    monkeypatch.setattr(fingerprints, "_is_in_memory", lambda leaf: False)
    assert array_fingerprints([values, values.T, values[0, 0, 0]]) == expected
    assert array_fingerprints([placed]) == {"0": expected["0"]}


def test_names_types_shapes_and_values_all_count():
    changed = [
        {**PARAMS, "a": PARAMS["a"].T},
        {**PARAMS, "a": np.nextafter(PARAMS["a"], np.float32(9.0))},
        {**PARAMS, "a": PARAMS["a"].astype(np.float16)},
        {"z": PARAMS["a"], "b": PARAMS["b"]},
    ]
    found = [digest_with_arrays(PLAIN, params) for params in [PARAMS, *changed]]
    found += [digest_with_arrays(other, PARAMS) for other in ({"a": 2}, {**PLAIN, "a": 2})]
    assert len(set(found)) == len(found)
    zeros = np.zeros((2, 3), np.float32)
    others = [zeros, zeros.reshape(3, 2), zeros.astype(np.int32), -zeros, zeros[:1]]
    assert len({array_checksum(other) for other in others}) == len(others)


MANY = """
import os
import jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
from score_sde.runtime import fingerprints
from score_sde.training.mesh import device_mesh

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
fingerprints._is_in_memory = lambda leaf: False  # as with several processes
sharding = NamedSharding(device_mesh(fsdp=2), P("fsdp"))
leaf = jax.device_put(np.ones((2, 100_000), np.float32), sharding)
found = fingerprints.array_fingerprints({str(i): leaf for i in range(200)})
print(len(found), len(set(found.values())))
"""


@pytest.mark.slow
def test_the_programs_of_many_arrays_do_not_wait_for_each_other_on_one_core():
    """XLA ends a process whose devices wait too long for each other, with code 134."""
    flags = "--xla_force_host_platform_device_count=2"
    flags += " --xla_cpu_collective_call_terminate_timeout_seconds=5"
    (process,) = together("-c", MANY, processes=1, env={"XLA_FLAGS": flags})
    ((output, _),) = finished([process])
    assert output == "200 1\n"
