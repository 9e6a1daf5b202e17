"""What sampling needs of a checkpoint: averaged parameters and the config, and no
device of those that trained it.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from score_sde.runtime.bounded_reading import allowed
from score_sde.runtime.naming import did_you_mean
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


class SamplingCheckpoint(NamedTuple):
    """What sampling needs of a checkpoint.

    Attributes:
        step: After how many updates it was written.
        ema_params: The averaged parameters, as NumPy arrays in nested dictionaries.
        config: The resolved config of the run.
    """

    step: int
    ema_params: Params
    config: Config


def restore_for_sampling(
    directory: str | Path, *, step: int | None = None, average: str | None = None
) -> SamplingCheckpoint:
    """Read the averaged parameters and the config; nothing is written, and no device
    needs to match the saved ones.

    Args:
        directory: The folder of the checkpoints.
        step: Which checkpoint; the latest unless given.
        average: Which of ``training.averages`` in the config; that of
            ``training.ema_decay`` unless given.

    Raises:
        FileNotFoundError: Where there is no such checkpoint.
        ValueError: Where the checkpoint is damaged, or the run has no such average.
        UnreadableError: Where it cannot be read, for whatever reason but its own bytes;
            an ``OSError``.
    """
    path = Path(directory).resolve()
    step = choose_step(steps_in(path), step, path)
    checkpoint = path / str(step)
    with reading(checkpoint):
        manifest, config = _manifest_and_config(checkpoint)
    number = None if average is None else _number_of(average, config)
    with reading(checkpoint):
        params = _read_params(checkpoint, number)
        # As they are named in the manifest, where the parameters may be one average of
        # several.
        where = (
            {"ema_params": params} if number is None else {"state": {"averages": {number: params}}}
        )
        check_arrays(manifest, where)
    return SamplingCheckpoint(step=step, ema_params=params, config=config)


def config_of_checkpoint(directory: str | Path, *, step: int | None = None) -> Config:
    """The config alone of the checkpoint that `restore_for_sampling` would read; its
    arrays are neither read nor checked.

    Args:
        directory: The folder of the checkpoints.
        step: Which checkpoint; the latest unless given.

    Raises:
        FileNotFoundError: Where there is no such checkpoint.
        ValueError: Where its config or its manifest is damaged.
        UnreadableError: Where it cannot be read, for whatever reason but its own bytes;
            an ``OSError``.
    """
    path = Path(directory).resolve()
    checkpoint = path / str(choose_step(steps_in(path), step, path))
    with reading(checkpoint):
        return _manifest_and_config(checkpoint)[1]


def newest_config(directory: str | Path) -> Config | None:
    """The config of the newest checkpoint whose config is sound, as a run will go on
    from; None where there is none. No arrays are read.

    A damaged checkpoint is passed over for the one before, as a run does, where
    `config_of_checkpoint` raises.

    Raises:
        CheckpointError: Where there are checkpoints and all are damaged; a
            ``ValueError``.
        UnreadableError: Where one cannot be read, for whatever reason but its own
            bytes; an ``OSError``.
    """
    path = Path(directory)
    steps, reason = steps_in(path), ""
    for step in reversed(steps):
        try:
            return _manifest_and_config(path / str(step))[1]
        except DamagedError as error:
            reason = reason or str(error)
    if steps:
        raise all_damaged(path, steps[-1], reason)
    check_startable(path)
    return None


def _manifest_and_config(checkpoint: Path) -> tuple[Manifest, Config]:
    """What a checkpoint says of itself in JSON, without its arrays.

    Raises:
        DamagedError: Where either is missing or broken, or the config is not the one
            that was saved.
        UnreadableError: Where one cannot be read.
    """
    manifest = read_manifest(checkpoint)
    return manifest, read_config(checkpoint, manifest)


def _read_params(checkpoint: Path, number: int | None) -> Params:
    """The averaged parameters, or those of the further average of a number, as NumPy arrays."""
    quiet_orbax()
    path = checkpoint / ("ema_params" if number is None else "state")
    with ocp.PyTreeCheckpointer() as checkpointer:
        # By the handler itself, for a checkpointer keeps some errors to itself.
        saved = ocp.PyTreeCheckpointHandler().metadata(epath.Path(path)).tree
        check_promised(path, saved)
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), saved)
        if number is None:
            return checkpointer.restore(path, restore_args=as_numpy)
        wanted = _that_average(saved, number)
        return checkpointer.restore(path, item=wanted, restore_args=as_numpy)["averages"][number]


def check_promised(path: Path, saved: Any) -> None:
    """Refuse arrays that would take much more room than the files in which they are:
    what is not there reads as zeros.

    Raises:
        DamagedError: Where they would.
    """
    arrays = [leaf for leaf in jax.tree.leaves(saved) if getattr(leaf, "shape", None)]
    promised = sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in arrays)
    there = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    if promised > allowed(there):
        raise DamagedError(f"its arrays would take {promised} bytes, and {there} are there")


def _number_of(average: str, config: Config) -> int:
    training = config.get("training") if isinstance(config, Mapping) else None
    found = training.get("averages") if isinstance(training, Mapping) else None
    names = [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
    if average not in names:
        others = (
            f"it has {', '.join(names)}" if names else "it has none but that of training.ema_decay"
        )
        raise ValueError(
            f"the run has no average {average!r}{did_you_mean(average, names)}: {others}"
        )
    return names.index(average)


def _that_average(saved: Any, number: int) -> Any:
    """The saved arrays, all but those of one average to be left out."""
    left_out = jax.tree.map(lambda _: ocp.PLACEHOLDER, saved)
    left_out["averages"][number] = saved["averages"][number]
    return left_out
