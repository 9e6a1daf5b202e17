"""A part of a grid: the steps between two times, with the indices of the whole grid.

Noise is keyed by the index of a step, so that solves over two parts that meet at a node
give the solve over the whole grid, bit for bit.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float

from score_sde import checks

Cut: TypeAlias = tuple[int, int]
"""The step that ends before its node, and the 32 bits of the time at which it ends."""


class GridPart(NamedTuple):
    """The steps ``first`` to ``last - 1`` of a grid.

    ``times``: all falling nodes of the grid, with the nodes ``first`` and ``last``
    moved to the start and the end of the part. ``cut``: the last step if it ends before
    its node, and so has noise of its own; the rest of the step has the noise of its
    index. ``whole``: the first and the last node of the whole grid, before any move.
    """

    times: Float[np.ndarray, " nodes"]
    first: int
    last: int
    cut: Cut | None
    whole: tuple[float, float]

    @property
    def num_steps(self) -> int:
        """The number of steps."""
        return self.last - self.first

    @property
    def nodes(self) -> slice:
        """The nodes of the part, its two ends included."""
        return slice(self.first, self.last + 1)

    @property
    def steps(self) -> slice:
        """The steps of the part."""
        return slice(self.first, self.last)


def whole_grid(times: Float[np.ndarray, " nodes"]) -> GridPart:
    """All steps of a grid, whose times may also rise."""
    return GridPart(times, 0, len(times) - 1, None, (float(times[0]), float(times[-1])))


def grid_part(
    times: Float[np.ndarray, " nodes"], t_start: float | None = None, t_stop: float | None = None
) -> GridPart:
    """The part of the grid of falling ``times`` from ``t_start`` to ``t_stop``; None is
    the end of the grid.

    A time that equals a node in float32 is that node.

    Raises:
        ValueError: where a time is outside the grid, or the two are equal in float32.
    """
    moved, last_node = np.array(times, np.float64), len(times) - 1
    first = 0 if t_start is None else _place(times, t_start, "t_start")[0]
    last, cut = (last_node, False) if t_stop is None else _place(times, t_stop, "t_stop")[1:]
    if t_start is not None and np.float32(t_start) != np.float32(times[first]):
        moved[first] = t_start
    if t_stop is not None and cut:
        moved[last] = t_stop
    checks.require(
        first < last and np.float32(moved[first]) > np.float32(moved[last]),
        f"there is no step from t={moved[first]:.9g} to t={moved[last]:.9g}: t_start must be above "
        "t_stop in float32",
    )
    whole = float(times[0]), float(times[-1])
    return GridPart(moved, first, last, cut_at(last - 1, moved[last]) if cut else None, whole)


def cut_at(step: int, t: float) -> Cut:
    """The `Cut` of a step that ends at ``t``."""
    return step, int(np.float32(t).view(np.uint32))


def _place(times: Float[np.ndarray, " nodes"], t: float, name: str) -> tuple[int, int, bool]:
    """The step that starts at ``t`` or contains it, the node at ``t`` or the next one
    below, and whether ``t`` is between nodes.
    """
    single = times.astype(np.float32)
    node = np.flatnonzero(single == np.float32(t))
    if len(node):
        return int(node[0]), int(node[0]), False
    below = int(np.sum(times > t))
    checks.require(
        0 < below < len(times),
        f"{name}={t:g} must be from t={times[0]:g} to t={times[-1]:g}, the ends of the sampler's "
        "grid",
    )
    return below - 1, below, True
