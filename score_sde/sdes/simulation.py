"""Forward simulation: watching data dissolve into noise."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Shaped

from score_sde.precision import as_state, wide
from score_sde.sdes.base import SDE, perturb
from score_sde.typing import Key, Scalar


class Simulation(NamedTuple):
    """``x`` at ``t_max``, and ``[save_path, *shape]`` frames from ``t_min`` to
    ``t_max``, evenly spaced, or None.
    """

    x: Float[Array, "*shape"]
    path: Float[Array, "frames *shape"] | None


def simulate(
    key: Key, sde: SDE, x0: Shaped[ArrayLike, "*shape"], *, save_path: int = 0
) -> Simulation:
    """One trajectory of ``dx = f dt + g dw`` from the data ``x0``.

    It has no discretisation error: the state at ``t_min`` is drawn from ``N(alpha x0,
    sigma^2 I)``, and each frame from the exact transition from the one before, however
    near the drift of the SDE comes to infinity.

    Args:
        key: where the noise comes from.
        sde: the SDE.
        x0: the data; the result has their floating-point type.
        save_path: the number of frames to keep.

    Raises:
        ValueError: where ``save_path`` is negative.
    """
    if save_path < 0:
        raise ValueError(f"save_path={save_path} must not be negative")
    given, x0 = x0, wide(x0, "x0")
    times = jnp.linspace(sde.t_min, sde.t_max, max(save_path, 2))
    keys = jax.random.split(key, len(times))
    start = perturb(sde, x0, sde.t_min, jax.random.normal(keys[0], x0.shape, x0.dtype))

    def step(x: Float[Array, "*shape"], stretch: tuple[Key, Scalar, Scalar]) -> tuple[Array, Array]:
        key, t, t_next = stretch
        alpha, sigma = sde.transition(t, t_next)
        x = (alpha * x + sigma * jax.random.normal(key, x.shape, x.dtype)).astype(x.dtype)
        return x, x

    x, later = jax.lax.scan(step, start, (keys[1:], times[:-1], times[1:]))
    path = jnp.concatenate([start[None], later])[:save_path] if save_path else None
    return as_state(Simulation(x, path), given)
