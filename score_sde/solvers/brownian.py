"""Brownian noise for a fixed grid, keyed by the index of the step.

Increment ``i`` is drawn from ``fold_in(key, i)``: reproducible whatever the rounding of
the times, differentiable with respect to everything but the key, and as cheap as a
hand-written loop.
"""

import math
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from score_sde.solvers.parts import Cut
from score_sde.typing import Key, ScalarLike

TREE_TOLERANCE = 2.0**-20
"""The length of the finest intervals of a Brownian tree, as a fraction of the whole: near
the resolution of float32.
"""


def step_key(key: Key, step: Any, cut: Cut | None = None) -> Key:
    """The key of a step: from its index, and for the step of a ``cut`` also from the time
    at which that ends.

    The rest of that step, in another solve, has the key of the index alone; so the
    noise of the two parts of the step is independent.
    """
    own = jax.random.fold_in(key, step)
    if cut is None:
        return own
    index, salt = cut
    return jnp.where(step >= index, jax.random.fold_in(own, np.uint32(salt)), own)


class IndexedBrownianPath(diffrax.AbstractBrownianPath):
    """Independent increments ``W ~ N(0, dt I)`` over the intervals of a grid, with
    space-time Lévy area ``H ~ N(0, dt / 12 I)``.

    It is evaluated over whole intervals of the grid only.
    """

    key: Key
    nodes: Float[Array, " nodes"]
    noise_like: jax.ShapeDtypeStruct = eqx.field(static=True)
    levy_area: Any = eqx.field(static=True, default=diffrax.SpaceTimeLevyArea)
    cut: Cut | None = eqx.field(static=True, default=None)

    @property
    def t0(self) -> ScalarLike:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Start of the grid."""
        return self.nodes[0]

    @property
    def t1(self) -> ScalarLike:  # pyright: ignore[reportIncompatibleVariableOverride]
        """End of the grid."""
        return self.nodes[-1]

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True, use_levy: bool = False) -> Any:
        """The increment over the interval ``[t0, t1]`` of the grid; with ``use_levy``,
        ``W`` and ``H``.
        """
        del left
        if t1 is None:
            raise ValueError(
                "an indexed Brownian path has increments, not values: give both t0 and t1"
            )
        index = jnp.searchsorted(self.nodes, t0, side="right") - 1
        noise_key, area_key = jax.random.split(step_key(self.key, index, self.cut))
        scale = jnp.sqrt(t1 - t0)
        increment = scale * jax.random.normal(
            noise_key, self.noise_like.shape, self.noise_like.dtype
        )
        if not use_levy:
            return increment
        area = (
            scale
            * math.sqrt(1 / 12)
            * jax.random.normal(area_key, self.noise_like.shape, self.noise_like.dtype)
        )
        return diffrax.SpaceTimeLevyArea(dt=t1 - t0, W=increment, H=area)


class StepNoise(eqx.Module):
    """Standard normal numbers for every step of a table.

    They are drawn by the index of the step. With a ``clock`` they are the normalised
    increments of one Brownian path over it, so that finer grids refine the same path.
    """

    key: Key
    like: jax.ShapeDtypeStruct = eqx.field(static=True)
    clock: Float[Array, " nodes"] | None = None
    cut: Cut | None = eqx.field(static=True, default=None)

    def draw(self, step: Any) -> Any:
        """The numbers of one step."""
        if self.clock is None:
            return jax.random.normal(
                step_key(self.key, step, self.cut), self.like.shape, self.like.dtype
            )
        start, stop = self.clock[step], self.clock[step + 1]
        tree = brownian_tree(self.key, self.clock[-1], self.like, diffrax.BrownianIncrement)
        increment: Any = tree.evaluate(start, stop)
        return increment / jnp.sqrt(stop - start)


def brownian_tree(
    key: Key, stop: ScalarLike, like: jax.ShapeDtypeStruct, levy_area: Any
) -> diffrax.VirtualBrownianTree:
    """One Brownian path on ``[0, stop]``, with increments over any interval."""
    start = jnp.zeros_like(jnp.asarray(stop))
    return diffrax.VirtualBrownianTree(start, stop, TREE_TOLERANCE * stop, like, key, levy_area)


class AdditiveNoise(diffrax.AbstractTerm):
    """``g(s) dw`` with a scalar ``g`` that does not depend on the state."""

    diffusion: Callable[[ScalarLike], ScalarLike]
    path: diffrax.AbstractBrownianPath

    def vf(self, t: Any, y: Any, args: Any) -> Any:
        """``g(s)``."""
        del y, args
        return self.diffusion(t)

    def contr(self, t0: Any, t1: Any, **kwargs: Any) -> Any:
        """The increment ``dw`` over ``[t0, t1]``."""
        return self.path.evaluate(t0, t1, **kwargs)

    def prod(self, vf: Any, control: Any) -> Any:
        """``g(s) dw``."""
        return vf * control
