"""A trained sampler as one file of StableHLO, which runs wherever jax does, without
this package.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import export
from jaxtyping import Array

from score_sde.runtime.atomic_files import replacing

PLATFORMS = ("cpu", "cuda", "tpu")
"""What a sampler is compiled for."""

Draw: TypeAlias = Callable[[Array, Any], Array]
"""``(keys [b], conditions) -> samples [b, *shape]``, with ``conditions`` a pytree of
arrays ``[b, ...]``, or None.
"""

NO_CALLBACKS = ("EQX_ON_ERROR", "nan")
"""The environment variable and its value under which equinox calls back to no Python,
where StableHLO could not.
"""


def can_export() -> bool:
    """Whether Python was started so that a sampler can be exported."""
    name, value = NO_CALLBACKS
    return os.environ.get(name) == value


def export_sampler(
    path: str | Path, draw: Draw, condition: Any = None, *, platforms: Sequence[str] = PLATFORMS
) -> None:
    """Write a sampler to one file, its parameters included.

    What is written is ``images = call(seed, index)`` with ``seed`` uint32 and ``index``
    uint32 ``[b]`` of any ``b``: image ``i`` has the key ``fold_in(key(seed),
    index[i])``, whatever is drawn beside it. To run it takes jax alone::

        call = jax.export.deserialize(bytearray(open(path, "rb").read())).call
        images = call(numpy.uint32(0), numpy.arange(16, dtype=numpy.uint32))

    With ``condition`` it is ``call(seed, index, condition)``, with the condition of each
    image: of a model of classes, int32 ``[b]``.

    Args:
        path: the file; it appears whole or not at all.
        draw: ``(keys [b], conditions) -> samples [b, *shape]``; what it closes over
            becomes part of the file. ``score-sde export`` gives samples in data units:
            levels, or continuous data with their standardisation undone.
        condition: the shapes and types of one condition, a pytree of
            ``jax.ShapeDtypeStruct``; None for an unconditional model.
        platforms: what the sampler can be run on.

    Raises:
        ValueError: where the environment variable ``EQX_ON_ERROR`` was not ``nan`` when
            equinox was imported.
    """
    if not can_export():
        raise ValueError(
            "a sampler can be exported only with EQX_ON_ERROR=nan in the environment of Python"
        )

    def call(seed: Array, index: Array, *conditions: Any) -> Array:
        key = jax.random.key(seed)
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(index)
        return draw(keys, *conditions or (None,))

    (batch,) = export.symbolic_shape("b")
    arguments = [jax.ShapeDtypeStruct((), jnp.uint32), jax.ShapeDtypeStruct((batch,), jnp.uint32)]
    if condition is not None:
        each = jax.tree.map(lambda x: jax.ShapeDtypeStruct((batch, *x.shape), x.dtype), condition)
        arguments.append(each)
    data = export.export(jax.jit(call), platforms=tuple(platforms))(*arguments).serialize()
    with replacing(path) as temporary:
        temporary.write_bytes(data)
