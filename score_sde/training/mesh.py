"""Devices: the batch is split over all of them; the state is copied to each, or split over
groups of them.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from score_sde import checks
from score_sde.data.loader import Batch
from score_sde.training.state import TrainState
from score_sde.training.step import (
    AxisName,
    EvalStep,
    Metrics,
    Result,
    Step,
    StepFunction,
    TrainStep,
    Updated,
)
from score_sde.typing import Key

DATA, FSDP = "data", "fsdp"
"""The axes of the mesh. The batch is split over both, the state over the second (fully
sharded data parallelism).
"""

AXES = (DATA, FSDP)

_SMALL = 4096
"""Arrays with fewer values are copied to every device: gathering them would take longer."""


def device_mesh(devices: Sequence[Any] | None = None, *, fsdp: int = 1) -> Mesh:
    """A mesh with the axes ``data`` and ``fsdp``.

    Args:
        devices: The devices, those of each process next to each other; all devices of
            all processes unless given.
        fsdp: The number of neighbouring devices over which the parameters, their averages
            and the state of the optimizer are split; 1 for a copy on each device.

    Raises:
        ValueError: Where ``fsdp`` does not divide the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    checks.require(
        fsdp >= 1 and len(devices) % fsdp == 0,
        f"fsdp={fsdp} must divide the number of devices, {len(devices)}",
    )
    return Mesh(np.asarray(devices).reshape(-1, fsdp), AXES)


def step_axes(mesh: Mesh) -> AxisName:
    """The ``axis_name`` of the steps on a mesh.

    Where each of several devices holds the whole state, it names both axes: each device
    computes the gradient of its own rows, and one sum over the devices adds them up. Where
    the state is split, or there is one device, it is None: the compiler partitions the step.
    """
    return AXES if mesh.size > 1 and mesh.shape[FSDP] == 1 else None


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of arrays that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """The sharding of arrays that are split over all devices along their first axis."""
    return NamedSharding(mesh, PartitionSpec(AXES))


def shardings(mesh: Mesh, tree: Any) -> Any:
    """The sharding of each array of a state: split along its longest axis that ``fsdp``
    divides, unless it is small.
    """
    parts = mesh.shape[FSDP]

    def sharding(leaf: Any) -> NamedSharding:
        axes = [axis for axis, length in enumerate(leaf.shape) if length % parts == 0]
        if parts == 1 or leaf.size < _SMALL or not axes:
            return replicated(mesh)
        longest = max(axes, key=lambda axis: leaf.shape[axis])
        return NamedSharding(
            mesh, PartitionSpec(*(FSDP if axis == longest else None for axis in range(leaf.ndim)))
        )

    return jax.tree.map(sharding, tree)


def check_batch_size(mesh: Mesh, batch_size: int, *, num_microbatches: int = 1) -> None:
    """Check that a batch can be split evenly over the devices, and then into microbatches.

    >>> check_batch_size(device_mesh(jax.devices()[:1]), 9, num_microbatches=4)
    Traceback (most recent call last):
    ValueError: batch_size=9 must be a positive multiple of 4, ...: take 8 or 12

    Raises:
        ValueError: Where their product does not divide ``batch_size``; it suggests sizes.
    """
    unit = mesh.size * num_microbatches
    below = batch_size // unit * unit
    if batch_size < 1 or below != batch_size:
        sizes = f"{below} or {below + unit}" if below > 0 else f"{unit}"
        parts = f"{mesh.size} devices" + (
            f" and {num_microbatches} microbatches" if num_microbatches > 1 else ""
        )
        because = f"to be split evenly over {parts}: take {sizes}"
        checks.fail("batch_size", batch_size, f"a positive multiple of {unit}", because)


def local_part(mesh: Mesh, batch_size: int) -> slice:
    """The rows of a batch that the devices of this process hold.

    Raises:
        ValueError: Where they are not consecutive, or the batch cannot be split evenly.
    """
    check_batch_size(mesh, batch_size)
    places = split(mesh).addressable_devices_indices_map((batch_size,)).values()
    spans = sorted(rows.indices(batch_size)[:2] for place in places if place for rows in place)
    checks.require(
        all(stop == start for (_, stop), (start, _) in itertools.pairwise(spans)),
        "the devices of a process must be neighbours in the mesh",
    )
    return slice(spans[0][0], spans[-1][1])


def shard_batch(mesh: Mesh, batch: Batch) -> Batch:
    """A batch on the devices of ``mesh``, split evenly. Each process gives its own rows.

    Raises:
        ValueError: Where the batch cannot be split evenly.
    """
    check_batch_size(mesh, len(batch.index) * jax.process_count())
    return jax.tree.map(
        lambda rows: jax.make_array_from_process_local_data(split(mesh), np.asarray(rows)), batch
    )


def shard_batches(mesh: Mesh, batches: Sequence[Batch]) -> Batch:
    """Several batches, stacked along a new first axis, on the devices of ``mesh``."""
    sharding = NamedSharding(mesh, PartitionSpec(None, AXES))
    stacked = jax.tree.map(lambda *rows: np.stack(rows), *batches)
    return jax.tree.map(
        lambda rows: jax.make_array_from_process_local_data(sharding, rows), stacked
    )


def place(mesh: Mesh, tree: Any) -> Any:
    """A copy of a state on the devices of ``mesh``, with the sharding of `shardings`. All
    processes give the same state.
    """
    # Through NumPy, so that donating the copy does not delete arrays of the source.
    host = jax.tree.map(np.asarray, tree)
    return jax.tree.map(_global_array, host, shardings(mesh, host))


def _global_array(value: np.ndarray, sharding: NamedSharding) -> jax.Array:
    return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index].copy())


def gathered(mesh: Mesh, tree: Any) -> Any:
    """Global arrays as NumPy arrays in each process. All processes have to call it."""
    whole = jax.jit(lambda tree: tree, out_shardings=replicated(mesh))(tree)
    return jax.tree.map(lambda leaf: np.asarray(leaf.addressable_data(0)), whole)


def compile_step(step: TrainStep, mesh: Mesh, state: TrainState) -> StepFunction[Updated]:
    """The step of ``make_train_step`` under ``jax.jit``, on the devices of ``mesh``.

    It donates its state: afterwards only the returned state may be used.

    Args:
        step: The step, with the ``axis_name`` of ``step_axes(mesh)``, or None.
        mesh: The devices.
        state: A state with the shapes of those to come.

    Raises:
        ValueError: For any other ``axis_name``.
    """
    return _compile(step, mesh, state, PartitionSpec(AXES), donated=True)


def compile_steps(step: TrainStep, mesh: Mesh, state: TrainState) -> StepFunction[Updated]:
    """Like `compile_step`, with one step for each batch stacked by `shard_batches`, all in
    one dispatch. The metrics have one row for each step.
    """

    def steps(state: TrainState, batches: Batch, key: Key) -> Updated:
        if batches.index.shape[0] == 1:
            # A scan of length one would still be a loop, even unrolled.
            state, metrics = step(state, jax.tree.map(lambda rows: rows[0], batches), key)
            return state, jax.tree.map(lambda value: value[None], metrics)
        # On CPUs the gradient of a convolution is many times slower inside a loop.
        unroll = jax.default_backend() == "cpu"
        return jax.lax.scan(
            lambda state, batch: step(state, batch, key), state, batches, unroll=unroll
        )

    return _compile(
        Step(steps, step.axis_name), mesh, state, PartitionSpec(None, AXES), donated=True
    )


def compile_eval_step(step: EvalStep, mesh: Mesh, state: TrainState) -> StepFunction[Metrics]:
    """The step of ``make_eval_step`` under ``jax.jit``, on the devices of ``mesh``, for
    states with the shapes of ``state``.
    """
    return _compile(step, mesh, state, PartitionSpec(AXES), donated=False)


def _compile(
    step: Step[Result], mesh: Mesh, state: TrainState, rows: PartitionSpec, *, donated: bool
) -> StepFunction[Result]:
    checks.one_of((None, AXES), axis_name=step.axis_name, because="the axes of the mesh")
    where, whole = shardings(mesh, state), replicated(mesh)
    function = step.function
    if step.axis_name is not None:
        everywhere = PartitionSpec()
        # check_vma cannot prove that the state is the same on all devices: the gradients
        # are added up as one flat array.
        function = jax.shard_map(
            function,
            mesh=mesh,
            in_specs=(everywhere, rows, everywhere),
            out_specs=everywhere,
            check_vma=False,
        )
    inputs = (where, NamedSharding(mesh, rows), whole)
    if donated:
        return jax.jit(
            function, in_shardings=inputs, out_shardings=(where, whole), donate_argnums=0
        )
    return jax.jit(function, in_shardings=inputs, out_shardings=whole)
