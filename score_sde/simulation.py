"""Forward simulation: watching data dissolve into noise."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from score_sde.integrate import Noise, solve_on_grid
from score_sde.sdes.base import SDE, perturb
from score_sde.solvers import Euler
from score_sde.typing import Key


class Simulation(NamedTuple):
    """``x`` at ``t_max``, and ``[save_path, *shape]`` frames from ``t_min`` to ``t_max``, evenly spaced, or None."""

    x: Float[Array, "*shape"]
    path: Float[Array, "frames *shape"] | None


def simulate(
    key: Key, sde: SDE, x0: Float[Array, "*shape"], *, num_steps: int = 1000, save_path: int = 0
) -> Simulation:
    """One trajectory of ``dx = f dt + g dw`` from the data ``x0``.

    The state at ``t_min`` is drawn exactly, from ``N(alpha x0, sigma^2 I)``; Euler-Maruyama goes on to ``t_max``.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps={num_steps} must be at least 1")
    start_key, path_key = jax.random.split(key)
    start = perturb(sde, x0, sde.t_min, jax.random.normal(start_key, x0.shape, x0.dtype))
    times = np.linspace(sde.t_min, sde.t_max, num_steps + 1)
    solution = solve_on_grid(
        sde.drift, start, times, Euler(), noise=Noise(path_key, sde.diffusion), save_path=save_path
    )
    return Simulation(solution.y, solution.path)
