"""Simulation of the forward SDE from data to noise."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from score_sde import checks
from score_sde.precision import as_state, wide
from score_sde.sdes.base import SDE, perturb
from score_sde.typing import Key, SampleLike, Scalar


class Simulation(NamedTuple):
    """One trajectory of the forward SDE.

    ``x``: the state at ``t_max``. ``path``: ``[save_path, *shape]`` frames, evenly
    spaced in time from ``t_min`` to ``t_max``, or None.

    >>> import score_sde as ss
    >>> ss.Simulation._fields
    ('x', 'path')
    """

    x: Float[Array, "*shape"]
    path: Float[Array, "frames *shape"] | None


def simulate(key: Key, sde: SDE, x0: SampleLike, *, save_path: int = 0) -> Simulation:
    """One trajectory of ``dx = f dt + g dw`` from the data ``x0``.

    It has no discretisation error: the state at ``t_min`` is drawn from ``N(alpha x0,
    sigma^2 I)``, and each frame from the exact transition from the frame before, even
    where the drift of the SDE tends to infinity.

    >>> import jax, jax.numpy as jnp, score_sde as ss
    >>> noising = lambda key, x0: ss.simulate(key, ss.VPSDE(), x0, save_path=5)
    >>> jax.eval_shape(noising, jax.random.key(0), jnp.ones((8, 8, 3))).path.shape
    (5, 8, 8, 3)

    Args:
        key: draws the noise.
        sde: the forward SDE.
        x0: one example in model units; the result has its floating-point type.
        save_path: the number of frames to keep; 0 for none.

    Raises:
        ValueError: where ``save_path`` is negative.
    """
    checks.at_least(0, save_path=save_path)
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
