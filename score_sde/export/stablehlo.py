"""A trained sampler as one file of StableHLO, which needs jax alone to run."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import export
from jaxtyping import Array

from score_sde.checks import require
from score_sde.runtime.atomic_files import replacing
from score_sde.runtime.working_copy import local_path

PLATFORMS = ("cpu", "cuda", "tpu")
"""The platforms that a sampler is compiled for."""

Draw: TypeAlias = Callable[[Array, Any], Array]
"""``(keys [b], conditions) -> samples [b, *shape]``, with ``conditions`` a pytree of
arrays ``[b, ...]``, or None.
"""

NO_CALLBACKS = ("EQX_ON_ERROR", "nan")
"""The environment variable and its value that make equinox omit callbacks to Python, which
StableHLO cannot hold.
"""


def can_export() -> bool:
    """Whether the environment of Python lets a sampler be exported."""
    name, value = NO_CALLBACKS
    return os.environ.get(name) == value


def export_sampler(
    path: str | Path, draw: Draw, condition: Any = None, *, platforms: Sequence[str] = PLATFORMS
) -> None:
    """Write a sampler to one file, its parameters included.

    The file holds the function ``samples = call(seed, index)`` with ``seed`` uint32 and
    ``index`` uint32 ``[b]`` of any ``b``. Sample ``i`` has the key ``fold_in(key(seed),
    index[i])``, whatever the other samples of the batch. Running it needs jax alone::

        call = jax.export.deserialize(bytearray(open(path, "rb").read())).call
        samples = call(numpy.uint32(0), numpy.arange(16, dtype=numpy.uint32))

    With ``condition`` the function is ``call(seed, index, condition)``, with one
    condition for each sample: int32 ``[b]`` for a model of classes.

    Args:
        path: the file; it appears whole or not at all.
        draw: ``(keys [b], conditions) -> samples [b, *shape]``; the arrays that it closes
            over become part of the file. ``score-sde export`` passes a function that
            returns data units: levels, or continuous data that are not standardised.
        condition: the shapes and types of one condition, a pytree of
            ``jax.ShapeDtypeStruct``; None for an unconditional model.
        platforms: the platforms that can run the sampler.

    Raises:
        ValueError: where the environment variable ``EQX_ON_ERROR`` was not ``nan`` when
            equinox was imported.
    """
    require(
        can_export(),
        "a sampler can be exported only with EQX_ON_ERROR=nan in the environment of Python",
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
    with replacing(local_path(path)) as temporary:
        temporary.write_bytes(data)
