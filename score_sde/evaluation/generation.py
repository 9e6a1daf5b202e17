"""Drawing many samples: in batches, over all local devices, in the order of their index."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int

from score_sde.sampling import Sample, Sampler, Threshold, sample
from score_sde.sdes import SDE
from score_sde.solvers.integrate import Progress
from score_sde.typing import Key, Params, ScoreFn

AXIS = "batch"
"""The name of the batch axis, for samplers that couple its samples."""

Draw = Callable[[Params, Array], Sample]
"""``(params, keys [b]) ->`` a batch of samples."""


def make_draw(
    sde: SDE,
    score_fn_of: Callable[[Params], ScoreFn],
    sampler: Sampler,
    shape: tuple[int, ...],
    *,
    denoise: bool = True,
    save_path: int = 0,
    threshold: Threshold | None = None,
    progress: Progress | None = None,
) -> Draw:
    """The compiled function ``(params, keys [b]) -> Sample``, a batch of samples split
    over all local devices.
    """
    options: dict[str, Any] = {
        "denoise": denoise,
        "save_path": save_path,
        "threshold": threshold,
        "progress": progress,
    }

    def draw(params: Params, keys: Array) -> Sample:
        return draw_batch(keys, sde, score_fn_of(params), sampler, shape, **options)

    compiled = jax.jit(draw)
    return lambda params, keys: compiled(params, over_devices(keys))


def draw_batch(
    keys: Array,
    sde: SDE,
    score_fn: ScoreFn,
    sampler: Sampler,
    shape: tuple[int, ...],
    *,
    denoise: bool = True,
    save_path: int = 0,
    threshold: Threshold | None = None,
    progress: Progress | None = None,
) -> Sample:
    """A batch of samples, one of each key; the options are those of `sample`."""
    options: dict[str, Any] = {
        "denoise": denoise,
        "save_path": save_path,
        "threshold": threshold,
        "progress": progress,
    }
    return jax.vmap(
        lambda key: sample(key, sde, score_fn, sampler, shape, **options), axis_name=AXIS
    )(keys)


def index_keys(key: Key, indices: Int[np.ndarray, " n"]) -> Array:
    """The keys of samples or examples: that of index ``i`` is ``fold_in(key, i)``,
    whatever its batch.
    """
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(indices.astype(np.uint32))


def generate(
    draw: Draw, params: Params, key: Key, num_samples: int, batch_size: int
) -> Iterator[Sample]:
    """Batches of NumPy samples, ``num_samples`` in all, of at most ``batch_size``; all
    are compiled to one shape.
    """
    batch_size = even_batch_size(num_samples, batch_size)
    for start in range(0, num_samples, batch_size):
        yield draw_range(
            draw, params, key, range(start, min(start + batch_size, num_samples)), batch_size
        )


def draw_range(draw: Draw, params: Params, key: Key, indices: range, batch_size: int) -> Sample:
    """The samples of at most ``batch_size`` indices, of NumPy; as many are drawn, so
    that all batches are one shape.
    """
    batch = jax.device_get(draw(params, index_keys(key, indices.start + np.arange(batch_size))))
    return jax.tree.map(lambda leaf: leaf[: len(indices)], batch)


def even_batch_size(total: int, largest: int) -> int:
    """The size of equal batches of at most ``largest``, a multiple of the number of
    local devices where it can be.
    """
    size, devices = -(-total // -(-total // largest)), len(jax.local_devices())
    split = -(-size // devices) * devices
    return split if split <= largest else size


def over_devices(batch: Array) -> Array:
    """The batch, its rows split over all local devices where they divide evenly."""
    devices = jax.local_devices()
    if len(batch) % len(devices):
        return batch
    mesh = Mesh(
        np.asarray(devices), ("data",)
    )  # the mesh of training, whose parameters may come here as they are
    return jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
