"""Reading a checkpoint to sample from: averaged parameters and config, on any devices."""

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from score_sde.runtime.bounded_reading import allowed
from score_sde.runtime.naming import did_you_mean
from score_sde.runtime.working_copy import fetch, local_path
from score_sde.training.checkpoints.files import (
    Config,
    all_damaged,
    check_startable,
    choose_step,
    quiet_orbax,
    read_config,
    read_manifest,
    reading,
    steps_in,
)
from score_sde.training.checkpoints.manifest import DamagedError, Manifest, check_arrays
from score_sde.typing import Params

RAW = "none"
"""The ``average`` that is none: the parameters themselves, as the last update left them."""


Keys: TypeAlias = tuple[str | int, ...]
"""The keys that lead to arrays of a checkpoint, the name of an item first."""


class SamplingCheckpoint(NamedTuple):
    """The averaged parameters and the config of a checkpoint.

    Attributes:
        step: The number of updates.
        ema_params: The averaged parameters, or those of `RAW`, as NumPy arrays in nested
            dictionaries.
        config: The resolved config of the run.
    """

    step: int
    ema_params: Params
    config: Config


def restore_for_sampling(
    directory: str | Path, *, step: int | None = None, average: str | None = None
) -> SamplingCheckpoint:
    """Read the averaged parameters and the config. Nothing is written, and the devices need
    not match those of the training.

    Args:
        directory: The folder of the checkpoints.
        step: The step of the checkpoint; the latest unless given.
        average: One of ``training.averages`` in the config, or ``"none"`` for the
            parameters themselves; the average of ``training.ema_decay`` unless given.

    Raises:
        FileNotFoundError: Where there is no such checkpoint.
        ValueError: Where the checkpoint is damaged, or the run has no such average.
        UnreadableError: Where it may be sound and cannot be read; an ``OSError``.
    """
    path = local_path(directory).resolve()
    step = choose_step(steps_in(path), step, path)
    checkpoint = path / str(step)
    fetch(checkpoint)
    with reading(checkpoint):
        manifest, config = _manifest_and_config(checkpoint)
    place = _place_of(average, config)
    with reading(checkpoint):
        params = _read_params(checkpoint, place)
        tree: Any = params
        for key in reversed(place):  # by their names in the manifest
            tree = {key: tree}
        check_arrays(manifest, tree)
    return SamplingCheckpoint(step=step, ema_params=params, config=config)


def config_of_checkpoint(directory: str | Path, *, step: int | None = None) -> Config:
    """The config of the checkpoint that `restore_for_sampling` would read. Arrays are
    neither read nor checked.

    Args:
        directory: The folder of the checkpoints.
        step: The step of the checkpoint; the latest unless given.

    Raises:
        FileNotFoundError: Where there is no such checkpoint.
        ValueError: Where its config or its manifest is damaged.
        UnreadableError: Where it may be sound and cannot be read; an ``OSError``.
    """
    path = local_path(directory).resolve()
    checkpoint = path / str(choose_step(steps_in(path), step, path))
    with reading(checkpoint):
        return _manifest_and_config(checkpoint)[1]


def newest_config(directory: str | Path) -> Config | None:
    """The newest sound config of the checkpoints, with which a run will resume; None where
    there are no checkpoints. No arrays are read.

    Unlike `config_of_checkpoint`, it skips damaged checkpoints, as a resumed run does.

    Raises:
        CheckpointError: Where there are checkpoints and all are damaged; a
            ``ValueError``.
        UnreadableError: Where one may be sound and cannot be read; an ``OSError``.
    """
    newest = _newest(local_path(directory))
    return None if newest is None else newest[1]


def newest_about(directory: str | Path) -> dict[str, Any]:
    """The facts that were saved about the checkpoint of `newest_config`; none where there
    is no checkpoint. It raises the same errors.
    """
    newest = _newest(local_path(directory))
    return {} if newest is None else dict(newest[0]["about"])


def _newest(path: Path) -> tuple[Manifest, Config] | None:
    """The JSON items of the newest checkpoint that has sound ones."""
    steps, reason = steps_in(path), ""
    for step in reversed(steps):
        try:
            return _manifest_and_config(path / str(step))
        except DamagedError as error:
            reason = reason or str(error)
    if steps:
        raise all_damaged(path, steps[-1], reason)
    check_startable(path)
    return None


def _manifest_and_config(checkpoint: Path) -> tuple[Manifest, Config]:
    """The JSON items of a checkpoint.

    Raises:
        DamagedError: Where one is missing, broken, or differs from the manifest.
        UnreadableError: Where one cannot be read.
    """
    manifest = read_manifest(checkpoint)
    return manifest, read_config(checkpoint, manifest)


def _place_of(average: str | None, config: Config) -> Keys:
    """The item of a checkpoint with the parameters, and the keys that lead to them in it."""
    if average is None:
        return ("ema_params",)
    if average == RAW:
        return "state", "params"
    return "state", "averages", _number_of(average, config)


def _read_params(checkpoint: Path, place: Keys) -> Params:
    """The parameters at a place of `_place_of`, as NumPy arrays."""
    quiet_orbax()
    item, *keys = place
    path = checkpoint / str(item)
    with ocp.PyTreeCheckpointer() as checkpointer:
        # From the handler, since the checkpointer hides some errors.
        saved = ocp.PyTreeCheckpointHandler().metadata(epath.Path(path)).tree
        check_promised(path, saved)
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), saved)
        if not keys:
            return checkpointer.restore(path, restore_args=as_numpy)
        wanted = _only(saved, keys)
        found = checkpointer.restore(path, item=wanted, restore_args=as_numpy)
        return functools.reduce(lambda tree, key: tree[key], keys, found)


def check_promised(path: Path, saved: Any) -> None:
    """Check that arrays do not take much more memory than their files: missing chunks would
    be read as zeros.

    Raises:
        DamagedError: Where they do.
    """
    arrays = [leaf for leaf in jax.tree.leaves(saved) if getattr(leaf, "shape", None)]
    promised = sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in arrays)
    stored = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    if promised > allowed(stored):
        raise DamagedError(f"its arrays would take {promised} bytes, and its files have {stored}")


def _number_of(average: str, config: Config) -> int:
    training = config.get("training") if isinstance(config, Mapping) else None
    found = training.get("averages") if isinstance(training, Mapping) else None
    names = [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
    if average not in names:
        others = ", ".join(names) or "that of training.ema_decay alone"
        hint = did_you_mean(average, [*names, RAW])
        raise ValueError(
            f"average={average!r} must be an average of the run{hint}: it has {others}; or "
            f"{RAW!r}, for the parameters themselves"
        )
    return names.index(average)


def _only(saved: Any, keys: Sequence[str | int]) -> Any:
    """The saved arrays that some keys lead to, with all others marked as not to be read."""
    wanted = jax.tree.map(lambda _: ocp.PLACEHOLDER, saved)
    inner, place = saved, wanted
    for key in keys[:-1]:
        inner, place = inner[key], place[key]
    place[keys[-1]] = inner[keys[-1]]
    return wanted
