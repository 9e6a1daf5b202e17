"""Data parallelism: the batch is split over the devices, everything else is on each of them."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from score_sde.data.loader import Batch
from score_sde.training.step import EvalStep, TrainStep

AXIS = "data"
"""The name of the mesh's only axis."""


def data_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh of one axis over ``devices``, all local ones unless given."""
    return Mesh(np.asarray(jax.local_devices() if devices is None else devices), (AXIS,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of what every device holds wholly."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """The sharding of what is split over the devices by its first axis."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def check_batch_size(mesh: Mesh, batch_size: int, *, num_microbatches: int = 1) -> None:
    """Refuse a batch that cannot be split evenly, over the devices and then on each into microbatches.

    Raises:
        ValueError: Where their product does not divide ``batch_size``; it names sizes that would do.
    """
    unit = mesh.size * num_microbatches
    below = batch_size // unit * unit
    if batch_size < 1 or below != batch_size:
        sizes = f"{below} or {below + unit}" if below > 0 else f"{unit}"
        parts = f"{mesh.size} devices" + (f" and {num_microbatches} microbatches" if num_microbatches > 1 else "")
        raise ValueError(f"a batch of {batch_size} cannot be split evenly over {parts}: take {sizes}")


def shard_batch(mesh: Mesh, batch: Batch) -> Batch:
    """The batch on the devices of ``mesh``, each holding as many rows.

    Raises:
        ValueError: Where the number of devices does not divide the size of the batch.
    """
    check_batch_size(mesh, len(batch.index))
    return jax.device_put(batch, split(mesh))


def replicate(mesh: Mesh, tree: Any) -> Any:
    """A copy of ``tree`` on every device of ``mesh``."""
    # Without the copy one of the devices would share its buffers with the source, and donating one would delete both.
    return jax.device_put(jax.tree.map(jnp.copy, tree), replicated(mesh))


def compile_step(step: TrainStep, mesh: Mesh) -> TrainStep:
    """The step of ``make_train_step`` under ``jax.jit``, on the devices of ``mesh``.

    The state given to it is donated: only the returned one may be used afterwards.
    """
    return _compile(step, mesh, donate_argnums=0)


def compile_eval_step(step: EvalStep, mesh: Mesh) -> EvalStep:
    """The step of ``make_eval_step`` under ``jax.jit``, on the devices of ``mesh``."""
    return _compile(step, mesh)


def _compile(step: Callable[..., Any], mesh: Mesh, **options: Any) -> Callable[..., Any]:
    whole = replicated(mesh)
    return jax.jit(step, in_shardings=(whole, split(mesh), whole), out_shardings=whole, **options)
