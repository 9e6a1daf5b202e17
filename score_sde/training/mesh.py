"""Devices: the batch is split over all of them; the state is on each, or split over
groups of them too.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

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
"""Arrays with fewer values are on every device: to gather them would take longer than
to keep them.
"""


def device_mesh(devices: Sequence[Any] | None = None, *, fsdp: int = 1) -> Mesh:
    """A mesh ``(data, fsdp)`` over ``devices``, those of all processes unless given.

    Args:
        devices: The devices, those of each process together.
        fsdp: Over how many neighbouring devices the parameters, their averages and the
            state of the optimizer are split; 1 for a copy on each.

    Raises:
        ValueError: Where ``fsdp`` does not divide the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    if fsdp < 1 or len(devices) % fsdp:
        raise ValueError(
            f"fsdp must divide the number of devices, and {fsdp} does not divide {len(devices)}"
        )
    return Mesh(np.asarray(devices).reshape(-1, fsdp), AXES)


def step_axes(mesh: Mesh) -> AxisName:
    """The ``axis_name`` of a step that each device makes for its own rows: where each
    holds the whole state.

    Then one sum over the devices takes all of the gradient. Where the state is split,
    or there is one device, it is None, and the compiler finds out what each device
    does.
    """
    return AXES if mesh.size > 1 and mesh.shape[FSDP] == 1 else None


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of what every device holds wholly."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """The sharding of what is split over all devices by its first axis."""
    return NamedSharding(mesh, PartitionSpec(AXES))


def shardings(mesh: Mesh, tree: Any) -> Any:
    """Where each array of a state lies: split along its longest axis that ``fsdp``
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
    """Refuse a batch that cannot be split evenly, over the devices and then on each
    into microbatches.

    Raises:
        ValueError: Where their product does not divide ``batch_size``; it names sizes
            that would do.
    """
    unit = mesh.size * num_microbatches
    below = batch_size // unit * unit
    if batch_size < 1 or below != batch_size:
        sizes = f"{below} or {below + unit}" if below > 0 else f"{unit}"
        parts = f"{mesh.size} devices" + (
            f" and {num_microbatches} microbatches" if num_microbatches > 1 else ""
        )
        raise ValueError(
            f"a batch of {batch_size} cannot be split evenly over {parts}: take {sizes}"
        )


def local_part(mesh: Mesh, batch_size: int) -> slice:
    """Which rows of a batch the devices of this process hold.

    Raises:
        ValueError: Where they do not lie together, or their number does not divide
            evenly.
    """
    check_batch_size(mesh, batch_size)
    places = split(mesh).addressable_devices_indices_map((batch_size,)).values()
    spans = sorted(rows.indices(batch_size)[:2] for place in places if place for rows in place)
    if any(stop != start for (_, stop), (start, _) in itertools.pairwise(spans)):
        raise ValueError("the devices of a process must be neighbours in the mesh")
    return slice(spans[0][0], spans[-1][1])


def shard_batch(mesh: Mesh, batch: Batch) -> Batch:
    """The batch on the devices of ``mesh``, each holding as many rows; of several
    processes, each gives its part.

    Raises:
        ValueError: Where the number of devices does not divide the size of the batch.
    """
    check_batch_size(mesh, len(batch.index) * jax.process_count())
    return jax.tree.map(
        lambda rows: jax.make_array_from_process_local_data(split(mesh), np.asarray(rows)), batch
    )


def shard_batches(mesh: Mesh, batches: Sequence[Batch]) -> Batch:
    """Several batches, stacked along a new first axis, on the devices of ``mesh`` as
    `shard_batch` puts one.
    """
    sharding = NamedSharding(mesh, PartitionSpec(None, AXES))
    stacked = jax.tree.map(lambda *rows: np.stack(rows), *batches)
    return jax.tree.map(
        lambda rows: jax.make_array_from_process_local_data(sharding, rows), stacked
    )


def place(mesh: Mesh, tree: Any) -> Any:
    """A copy of a state on the devices of ``mesh``, as `shardings` says; all processes
    give the same.
    """
    # As NumPy arrays, which belong to no device: donating the copy then deletes nothing
    # of the source.
    host = jax.tree.map(np.asarray, tree)
    return jax.tree.map(_global_array, host, shardings(mesh, host))


def _global_array(value: np.ndarray, sharding: NamedSharding) -> jax.Array:
    return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index].copy())


def gathered(mesh: Mesh, tree: Any) -> Any:
    """Global arrays as NumPy arrays in each process; all processes must call it together."""
    whole = jax.jit(lambda tree: tree, out_shardings=replicated(mesh))(tree)
    return jax.tree.map(lambda leaf: np.asarray(leaf.addressable_data(0)), whole)


def compile_step(step: TrainStep, mesh: Mesh, state: TrainState) -> StepFunction[Updated]:
    """The step of ``make_train_step`` under ``jax.jit``, on the devices of ``mesh``.

    The state given to it is donated: only the returned one may be used afterwards.

    Args:
        step: The step; its ``axis_name`` is that of ``step_axes(mesh)``, or None.
        mesh: The devices.
        state: A state of the shapes to come.

    Raises:
        ValueError: Where the ``axis_name`` is another.
    """
    return _compile(step, mesh, state, PartitionSpec(AXES), donated=True)


def compile_steps(step: TrainStep, mesh: Mesh, state: TrainState) -> StepFunction[Updated]:
    """As many steps in one dispatch as the batches stacked by `shard_batches`; the
    metrics have one row for each.
    """

    def steps(state: TrainState, batches: Batch, key: Key) -> Updated:
        if batches.index.shape[0] == 1:
            # One turn of a scan is a loop all the same, however it is unrolled.
            state, metrics = step(state, jax.tree.map(lambda rows: rows[0], batches), key)
            return state, jax.tree.map(lambda value: value[None], metrics)
        # On CPUs the gradient of a convolution takes many times as long inside of a
        # loop.
        unroll = jax.default_backend() == "cpu"
        return jax.lax.scan(
            lambda state, batch: step(state, batch, key), state, batches, unroll=unroll
        )

    return _compile(
        Step(steps, step.axis_name), mesh, state, PartitionSpec(None, AXES), donated=True
    )


def compile_eval_step(step: EvalStep, mesh: Mesh, state: TrainState) -> StepFunction[Metrics]:
    """The step of ``make_eval_step`` under ``jax.jit``, on the devices of ``mesh``, for
    states of the shapes given.
    """
    return _compile(step, mesh, state, PartitionSpec(AXES), donated=False)


def _compile(
    step: Step[Result], mesh: Mesh, state: TrainState, rows: PartitionSpec, *, donated: bool
) -> StepFunction[Result]:
    if step.axis_name not in (None, AXES):
        raise ValueError(
            f"axis_name of a step on a mesh must be {AXES} or None, got {step.axis_name!r}"
        )
    where, whole = shardings(mesh, state), replicated(mesh)
    function = step.function
    if step.axis_name is not None:
        everywhere = PartitionSpec()
        # It cannot follow that the state is the same everywhere through a sum of all
        # arrays at once.
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
