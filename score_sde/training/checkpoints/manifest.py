"""The manifest of a checkpoint: it tells whether a restored value is the one that was saved.

On disk it is the item ``seal`` of a checkpoint, a name that every version reads.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from score_sde.runtime.fingerprints import (
    array_fingerprints,
    digest,
    named_leaves,
    path_of,
    type_and_shape,
)

Manifest: TypeAlias = dict[str, Any]
"""``{"arrays": {name: type and shape}, "prints": {name: fingerprint}, "config":
SHA-256, "metrics": …, "about": …, "sum": SHA-256 of all the rest}``.
"""


class CheckpointError(ValueError):
    """A checkpoint that a run cannot resume from."""


class DamagedError(CheckpointError):
    """A checkpoint that does not hold what was saved."""


def manifest_of(
    trees: Mapping[str, Any], config: Any, metrics: Mapping[str, float], about: Mapping[str, Any]
) -> Manifest:
    """The manifest of a checkpoint.

    Args:
        trees: The arrays, by the items of the checkpoint.
        config: The config, as plain values.
        metrics: The metrics that the checkpoint is judged by.
        about: Further facts, as plain values.
    """
    manifest = {
        "arrays": arrays_of(trees),
        "prints": array_fingerprints(trees),
        "config": digest(config),
        "metrics": dict(metrics),
        "about": dict(about),
    }
    return {**manifest, "sum": digest(manifest)}


def check_manifest(manifest: Any) -> Manifest:
    """The manifest itself, if it is whole.

    Raises:
        DamagedError: Where it is not.
    """
    if not isinstance(manifest, Mapping) or manifest.get("sum") != digest(
        {key: value for key, value in manifest.items() if key != "sum"}
    ):
        raise DamagedError("its manifest is broken")
    return dict(manifest)


def check_arrays(manifest: Manifest, trees: Mapping[str, Any]) -> None:
    """Compare restored arrays, all or some of those that were saved, with their manifest.

    Raises:
        DamagedError: Where one differs; it is named.
    """
    for name, found in array_fingerprints(trees).items():
        if manifest["prints"].get(name) != found:
            raise DamagedError(f"{name} is not what was saved")


def check_same(theirs: Mapping[str, str], ours: Mapping[str, str], path: Path) -> None:
    """Compare the arrays of a checkpoint with those of a run; orbax would cast some silently.

    Args:
        theirs: The type and shape of each array of the checkpoint, as in its manifest.
        ours: The same of each array of the run.
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


def check_config(manifest: Manifest, config: Any) -> None:
    """Compare a restored config with its manifest.

    Raises:
        DamagedError: Where it differs.
    """
    if manifest["config"] != digest(config):
        raise DamagedError("its config is not what was saved")


def arrays_of(tree: Any) -> dict[str, str]:
    """The type and shape of each array by name: ``{"params/w": "float32[3, 4]"}``."""
    return {name: type_and_shape(leaf) for name, leaf in named_leaves(tree).items()}


_WIDENED = ("ema_params/", "state/averages/", "state/opt_state/")
"""The parts of a checkpoint that version 0.1 kept in the type of the parameters."""

_HALVES = ("bfloat16", "float16")


def as_saved(trees: Mapping[str, Any], saved: Mapping[str, str]) -> dict[str, Any]:
    """The arrays to read from a checkpoint: those of ``trees``, but averages and moments
    that were saved in half precision in their saved type.

    Args:
        trees: Arrays, or their shapes with shardings, by the items of a checkpoint.
        saved: The type and shape of each array of the checkpoint by name, such as
            ``"bfloat16[3, 4]"``.
    """

    def shape_of(path: tuple[Any, ...], leaf: Any) -> Any:
        name = path_of(path)
        was = saved.get(name, "").partition("[")[0]
        if was not in _HALVES or leaf.dtype != jnp.float32 or not name.startswith(_WIDENED):
            return leaf
        return jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(was), sharding=leaf.sharding)

    return jax.tree_util.tree_map_with_path(shape_of, dict(trees))
