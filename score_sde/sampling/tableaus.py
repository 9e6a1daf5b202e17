"""Runge-Kutta methods for ``dy / ds = noise`` in the noise level ``s = sigma / alpha``, as
tables of float64 with one row a step.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float

Ratios: TypeAlias = Float[np.ndarray, " steps"]


class Tableau(NamedTuple):
    """The stages ``y_k = y + sum_l stages_ikl e_l`` of every step ``i``, at the noise
    levels ``ratio_ik``, and its end ``y + sum_k ends_ik e_k``.

    ``e_k`` is the noise ``(y_k - D) / s = -sigma score`` at stage ``k``.
    """

    ratio: Float[np.ndarray, "steps stages"]
    stages: Float[np.ndarray, "steps stages stages"]
    ends: Float[np.ndarray, "steps stages"]


MakeTableau: TypeAlias = Callable[[Ratios, Ratios], Tableau]
"""The tableau of a method, from the levels at which its steps start and stop."""


def euler(start: Ratios, stop: Ratios) -> Tableau:
    """Euler in the noise level, which is DDIM (Song, Meng & Ermon 2021, eq. 13)."""
    return _tableau([start], {}, [stop - start])


def heun(start: Ratios, stop: Ratios) -> Tableau:
    """Heun in the noise level (Karras et al. 2022, algorithm 1)."""
    step = stop - start
    return _tableau([start, stop], {(1, 0): step}, [0.5 * step, 0.5 * step])


def dpm_solver_2(start: Ratios, stop: Ratios) -> Tableau:
    """DPM-Solver-2 (Lu et al. 2022, algorithm 1): the noise in the middle of the step
    in log SNR.
    """
    middle = np.sqrt(start * stop)
    return _tableau([start, middle], {(1, 0): middle - start}, [0.0 * start, stop - start])


def dpm_solver_3(start: Ratios, stop: Ratios) -> Tableau:
    """DPM-Solver-3 (Lu et al. 2022, algorithm 2): the noise at a third and two thirds
    of the step in log SNR.
    """
    h = np.log(start / stop)
    first, second = start * np.exp(-h / 3.0), start * np.exp(-2.0 * h / 3.0)
    slope_second = -2.0 * second * (np.expm1(2.0 * h / 3.0) / (2.0 * h / 3.0) - 1.0)
    slope_end = -1.5 * stop * (np.expm1(h) / h - 1.0)
    stages = {(1, 0): first - start, (2, 0): second - start - slope_second, (2, 1): slope_second}
    return _tableau(
        [start, first, second], stages, [stop - start - slope_end, 0.0 * start, slope_end]
    )


def _tableau(
    ratio: list[Ratios], stages: dict[tuple[int, int], Ratios], ends: list[Ratios]
) -> Tableau:
    full = np.zeros((len(ratio[0]), len(ratio), len(ratio)))
    for (row, column), value in stages.items():
        full[:, row, column] = value
    return Tableau(np.stack(ratio, 1), full, np.stack(ends, 1))
