"""Solves inside ``jax.shard_map``, whose checks diffrax's loops do not pass.

By default ``shard_map`` tracks in the type of every array the mesh axes over which it
may differ between devices, and rejects a loop whose state starts as a constant and ends
as a number of one device. The loops of diffrax and equinox start so: counters, buffers,
the stages of a step, the search in a Brownian tree. A solve needs no other device, so it
runs in a nested ``shard_map`` without these checks, and its result gets the type that
the checks would have found.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from score_sde.precision import varying, varying_axes

Result = TypeVar("Result")


def on_each_device(solve: Callable[[Any], Result], y0: Any) -> Result:
    """``solve(y0)``, inside any ``shard_map`` too.

    There, it has no reverse mode under the default checks, because a replicated number
    that it closes over would get the gradient of one device instead of the sum.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or not varying_axes(varying(0.0, mesh.manual_axes)):
        return solve(y0)

    def unchecked(y0: Any) -> Result:
        # Any operation removes the type that the checks have given to the argument.
        return solve(jax.tree.map(lambda leaf: jnp.squeeze(leaf[None], 0), y0))

    replicated = PartitionSpec()
    nested = jax.shard_map(
        unchecked, mesh=mesh, in_specs=replicated, out_specs=replicated, check_vma=False
    )
    # Without jit, JAX cannot evaluate one shard_map within another.
    converted = eqx.filter_closure_convert(jax.jit(nested), y0)
    result = eqxi.nondifferentiable_backward(converted(y0), msg=_NO_REVERSE_MODE)
    return varying(result, varying_axes((converted, y0)))


_NO_REVERSE_MODE = (
    "Inside shard_map a solve has reverse-mode derivatives only with check_vma=False: "
    "jax.shard_map(..., check_vma=False)"
)
