"""The seal of a checkpoint: by it, a restored value is known to be the one that was saved."""

import functools
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

Seal: TypeAlias = dict[str, Any]
"""``{"arrays": {path: type and shape}, "prints": {path: fingerprint}, "config":
SHA-256, "metrics": …, "about": …, "sum": SHA-256 of all the rest}``.
"""


class CheckpointError(ValueError):
    """A checkpoint that a run cannot go on from."""


class DamagedError(CheckpointError):
    """A checkpoint that does not hold what was saved."""


def seal_of(
    trees: Mapping[str, Any], config: Any, metrics: Mapping[str, float], about: Mapping[str, Any]
) -> Seal:
    """The seal of arrays and of plain values.

    Args:
        trees: The arrays, as the items of a checkpoint.
        config: The config, as plain values.
        metrics: What the checkpoint is judged by.
        about: What else to keep, as plain values.
    """
    prints = fingerprints(trees)
    plain = {"config": digest(config), "metrics": dict(metrics), "about": dict(about)}
    seal = {"arrays": arrays_of(trees), "prints": prints, **plain}
    return {**seal, "sum": digest(seal)}


def check_seal(seal: Any) -> Seal:
    """The seal itself, if it is whole.

    Raises:
        DamagedError: Where it is not.
    """
    if not isinstance(seal, Mapping) or seal.get("sum") != digest(
        {k: v for k, v in seal.items() if k != "sum"}
    ):
        raise DamagedError("its seal is broken")
    return dict(seal)


def check_arrays(seal: Seal, trees: Mapping[str, Any]) -> None:
    """Compare restored arrays with their seal; arrays that were not asked for are not looked at.

    Raises:
        DamagedError: Where one differs; it is named.
    """
    for path, found in fingerprints(trees).items():
        if seal["prints"].get(path) != found:
            raise DamagedError(f"{path} is not what was saved")


def check_same(theirs: Mapping[str, str], ours: Mapping[str, str], path: Path) -> None:
    """Stop where the arrays of a checkpoint are not those that are asked for; orbax
    would cast some silently.

    Args:
        theirs: The type and shape of each array of the checkpoint, as in its seal.
        ours: Those that are asked for.
        path: The checkpoint.

    Raises:
        CheckpointError: Where one differs; it is named.
    """
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            was, wanted = theirs.get(name, "missing"), ours.get(name, "missing")
            name = name.removeprefix("state/")
            raise CheckpointError(
                f"{path} does not fit this config: {name} is {was} there and {wanted} here"
            )


def check_config(seal: Seal, config: Any) -> None:
    """Compare a restored config with its seal.

    Raises:
        DamagedError: Where it differs.
    """
    if seal["config"] != digest(config):
        raise DamagedError("its config is not what was saved")


def arrays_of(tree: Any) -> dict[str, str]:
    """The type and shape of each array, by path: ``{"params/w": "float32[3, 4]"}``."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {path_of(path): f"{np.dtype(leaf.dtype)}{list(leaf.shape)}" for path, leaf in leaves}


def fingerprints(tree: Any) -> dict[str, int]:
    """For each array ``sum_i mix(bits_i xor mix(i))`` over its values, modulo 2**32, by path.

    ``mix`` is the finaliser of MurmurHash3, ``i`` the position of the value in the
    array. The sum has no order, so the fingerprint is that of the values however they
    are spread over devices, and is computed where they are.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    found = jax.device_get([_fingerprint(leaf) for _, leaf in leaves])
    return {path_of(path): int(value) for (path, _), value in zip(leaves, found, strict=True)}


def digest(value: Any) -> str:
    """The SHA-256 of plain values, as canonical JSON."""
    return hashlib.sha256(
        json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()


# and not of all arrays at once: those of one shape, such as a parameter and its
# average, share a program
@jax.jit
def _fingerprint(leaf: jax.Array) -> jax.Array:
    words = _words(leaf)
    strides = [math.prod(words.shape[axis + 1 :]) % 2**32 for axis in range(words.ndim)]
    places = (
        jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis) * jnp.uint32(stride)
        for axis, stride in enumerate(strides)
    )
    place = functools.reduce(jnp.add, places, jnp.uint32(0))
    return jnp.sum(_mix(words ^ _mix(place)), dtype=jnp.uint32)


def _words(leaf: jax.Array) -> jax.Array:
    """The bits of the values as 32-bit words; of longer values, along a new last axis."""
    if leaf.dtype == jnp.bool_:
        return leaf.astype(jnp.uint32)
    size = leaf.dtype.itemsize
    if size < 4:
        return jax.lax.bitcast_convert_type(leaf, {1: jnp.uint8, 2: jnp.uint16}[size]).astype(
            jnp.uint32
        )
    return jax.lax.bitcast_convert_type(leaf, jnp.uint32)


def _mix(x: jax.Array) -> jax.Array:
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def path_of(path: tuple[Any, ...]) -> str:
    """The names on the way to a leaf: ``params/layer/w``."""
    return jax.tree_util.keystr(path, simple=True, separator="/")
