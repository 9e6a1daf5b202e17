"""Names and fingerprints of arrays and plain values: every one that is kept in a file.

A fingerprint tells whether a value that is read is the value that was written:

* `array_fingerprints` of arrays on devices, in the manifest of a checkpoint;
* `array_checksum` of an array on the host, in an exported model or a snapshot;
* `digest` of plain values, such as a config;
* `digest_with_arrays` of a request, such as samples of a model from a seed.

Files of earlier versions hold these numbers, so none of them may change.
"""

import functools
import hashlib
import json
import math
import zlib
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt


def path_of(path: tuple[Any, ...]) -> str:
    """The name of a leaf of a tree by the keys that lead to it: ``params/layer/w``."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by name, in the order of ``jax.tree.leaves``.

    >>> named_leaves({"conv": {"bias": 1, "kernel": 2}})
    {'conv/bias': 1, 'conv/kernel': 2}
    """
    return {path_of(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def type_and_shape(array: Any) -> str:
    """The type and shape of an array, or of a ``jax.ShapeDtypeStruct``.

    >>> type_and_shape(np.zeros((3, 4), np.float32))
    'float32[3, 4]'
    """
    return f"{np.dtype(array.dtype).name}{list(array.shape)}"


def sha256(parts: Iterable[Any]) -> str:
    """The SHA-256 of bytes, or of other contiguous buffers, one after the other, in hex."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()


def crc32(*parts: bytes) -> int:
    """The CRC-32 of bytes one after the other, an unsigned number of 32 bits."""
    return functools.reduce(lambda found, part: zlib.crc32(part, found), parts, 0)


def digest(value: Any) -> str:
    """The SHA-256 of plain values as canonical JSON, in which the order of keys has no part.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    return sha256([_canonical(value)])


def digest_with_arrays(value: Any, arrays: Any) -> str:
    """The SHA-256 of plain values and of the path, type, shape and bytes of each array."""

    def parts() -> Iterable[bytes]:
        yield _canonical(value)
        for path, leaf in jax.tree_util.tree_leaves_with_path(arrays):
            array = np.asarray(leaf, order="C")
            yield f"{jax.tree_util.keystr(path)}:{type_and_shape(array)}".encode()
            yield array.tobytes()

    return sha256(parts())


def array_checksum(array: np.ndarray) -> int:
    """The CRC-32 of an array's type, shape and bytes."""
    return crc32(type_and_shape(array).encode(), array.tobytes())


def array_fingerprints(tree: Any) -> dict[str, int]:
    """``sum_i mix(bits_i xor mix(i))`` over the values of each array, modulo 2**32, by name.

    ``mix`` is the finaliser of MurmurHash3 and ``i`` the position of the value in the
    array. A sum has no order: it is computed where the values are, and does not depend
    on how they are spread over devices. NumPy takes the arrays in the memory of this
    process, and compiles nothing; a program takes the arrays of accelerators and of
    several processes.

    >>> array_fingerprints({"w": np.ones(3, np.float32)})
    {'w': 3085456550}
    """
    return {name: _array_fingerprint(leaf) for name, leaf in named_leaves(tree).items()}


def _array_fingerprint(leaf: Any) -> int:
    if _is_in_memory(leaf):
        return _host_fingerprint(np.asarray(leaf))
    # Waits for each program before the next. Of a split array it sums over devices, and
    # CPU devices that share a core wait for each other for ever, or until XLA aborts the
    # process, where many such programs are under way.
    return int(_fingerprint(leaf))


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _is_in_memory(leaf: Any) -> bool:
    """Whether this process can read an array without a transfer from a device."""
    return not isinstance(leaf, jax.Array) or (
        leaf.is_fully_addressable and all(device.platform == "cpu" for device in leaf.devices())
    )


_BLOCK = 2**16
"""The number of words that are mixed at a time: few enough for the cache of a CPU."""


def _host_fingerprint(array: np.ndarray) -> int:
    """`_fingerprint` by NumPy."""
    size = array.dtype.itemsize
    words = np.ravel(array).view(np.dtype(f"u{min(size, 4)}"))
    found = 0
    for start in range(0, len(words), _BLOCK):
        block = words[start : start + _BLOCK].astype(np.uint32)
        place = np.arange(start, start + len(block)).astype(np.uint32)
        found += int(np.sum(_mix(block ^ _mix(place)), dtype=np.uint64))
    return found % 2**32


# One program for each array, not one for all: arrays of one shape, such as a parameter
# and its average, share it.
@jax.jit
def _fingerprint(leaf: Array) -> UInt[Array, ""]:
    words = _words(leaf)
    strides = [math.prod(words.shape[axis + 1 :]) % 2**32 for axis in range(words.ndim)]
    places = (
        jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis) * jnp.uint32(stride)
        for axis, stride in enumerate(strides)
    )
    place = functools.reduce(jnp.add, places, jnp.uint32(0))
    return jnp.sum(_mix(words ^ _mix(place)), dtype=jnp.uint32)


def _words(leaf: Array) -> UInt[Array, "..."]:
    """The bits of the values as 32-bit words; of longer values, along a new last axis."""
    if leaf.dtype == jnp.bool_:
        return leaf.astype(jnp.uint32)
    size = leaf.dtype.itemsize
    if size < 4:
        return jax.lax.bitcast_convert_type(leaf, {1: jnp.uint8, 2: jnp.uint16}[size]).astype(
            jnp.uint32
        )
    return jax.lax.bitcast_convert_type(leaf, jnp.uint32)


def _mix(x: Any) -> Any:
    x = (x ^ (x >> 16)) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * np.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
