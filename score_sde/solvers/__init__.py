"""Numerics independent of scores: integration, Brownian noise, time grids, marginals."""

from diffrax import (
    SRA1 as SRA1Solver,  # noqa: N811 - a class
    AbstractSolver,
    Dopri5,
    Euler,
    Heun,
    ShARK,
    Tsit5,
)

from score_sde.solvers.brownian import (
    TREE_TOLERANCE,
    AdditiveNoise,
    IndexedBrownianPath,
    StepNoise,
    brownian_tree,
    step_key,
)
from score_sde.solvers.clock import Clock
from score_sde.solvers.grids import (
    CauchyGrid,
    EDMGrid,
    Nodes,
    TimeGrid,
    adapted,
    geometric,
    log_snr,
    quadratic,
    told_apart,
    uniform,
)
from score_sde.solvers.lattice import OnLattice
from score_sde.solvers.marginal_levels import Marginals, marginals_at, times_of_ratio
from score_sde.solvers.parts import Cut, GridPart, cut_at, grid_part
from score_sde.solvers.progress import ProgressMeter

__all__ = [
    "TREE_TOLERANCE",
    "AbstractSolver",
    "AdditiveNoise",
    "CauchyGrid",
    "Clock",
    "Cut",
    "Dopri5",
    "EDMGrid",
    "Euler",
    "GridPart",
    "Heun",
    "IndexedBrownianPath",
    "Marginals",
    "Nodes",
    "OnLattice",
    "ProgressMeter",
    "SRA1Solver",
    "ShARK",
    "StepNoise",
    "TimeGrid",
    "Tsit5",
    "adapted",
    "brownian_tree",
    "cut_at",
    "geometric",
    "grid_part",
    "log_snr",
    "marginals_at",
    "quadratic",
    "step_key",
    "times_of_ratio",
    "told_apart",
    "uniform",
]
