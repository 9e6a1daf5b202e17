"""Time grids: the instants that a fixed-step solver visits, from ``t_max`` down to ``t_min``.

A grid is a function ``(sde, num_steps) -> [num_steps + 1]`` decreasing times in float64 NumPy, so that it is a
constant of the compiled program. The number of steps and the grid are free at sampling time, whatever the training
used.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from score_sde.sdes.base import SDE

TimeGrid: TypeAlias = Callable[[SDE, int], Float[np.ndarray, " nodes"]]
"""``(sde, num_steps) ->`` decreasing times."""


def uniform(sde: SDE, num_steps: int) -> Float[np.ndarray, " nodes"]:
    """Equal steps in ``t`` (Song et al. 2021)."""
    return np.linspace(sde.t_max, sde.t_min, num_steps + 1)


def quadratic(sde: SDE, num_steps: int) -> Float[np.ndarray, " nodes"]:
    """Equal steps in ``sqrt(t)``: finer near the data (Song, Meng & Ermon 2021, appendix D.2)."""
    return np.linspace(np.sqrt(sde.t_max), np.sqrt(sde.t_min), num_steps + 1) ** 2
