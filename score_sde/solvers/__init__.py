"""Solvers, noise and time grids for diffrax."""

from diffrax import SRA1 as SRA1Solver  # noqa: N811 - a class
from diffrax import AbstractSolver, Dopri5, Euler, Heun, ShARK, Tsit5

from score_sde.solvers.annealed_langevin import AnnealedLangevinSolver
from score_sde.solvers.brownian import (
    TREE_TOLERANCE,
    AdditiveNoise,
    IndexedBrownianPath,
    StepNoise,
    brownian_tree,
)
from score_sde.solvers.clock import Clock
from score_sde.solvers.correctors import Corrector, annealed_langevin, langevin, no_corrector
from score_sde.solvers.discrete import DiscreteSteps, StepTable
from score_sde.solvers.exponential import (
    LARGEST_STEP_SUM,
    ExtendedReverse,
    MultistepTable,
    Power,
    adams_table,
    noise_adams_table,
)
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
from score_sde.solvers.multistep import Multistep
from score_sde.solvers.noise_levels import NoiseLevels, noise_levels, times_of_ratio
from score_sde.solvers.predictor_corrector import PredictorCorrectorSolver
from score_sde.solvers.predictors import (
    Predictor,
    ancestral,
    ancestral_large,
    euler_maruyama,
    no_predictor,
    reverse_diffusion_step,
)
from score_sde.solvers.progress import ProgressMeter
from score_sde.solvers.singlestep import (
    MakeTableau,
    SingleStep,
    dpm_solver_2,
    dpm_solver_3,
    euler,
    heun,
)

__all__ = [
    "LARGEST_STEP_SUM",
    "TREE_TOLERANCE",
    "AbstractSolver",
    "AdditiveNoise",
    "AnnealedLangevinSolver",
    "CauchyGrid",
    "Clock",
    "Corrector",
    "DiscreteSteps",
    "Dopri5",
    "EDMGrid",
    "Euler",
    "ExtendedReverse",
    "Heun",
    "IndexedBrownianPath",
    "MakeTableau",
    "Multistep",
    "MultistepTable",
    "Nodes",
    "NoiseLevels",
    "OnLattice",
    "Power",
    "Predictor",
    "PredictorCorrectorSolver",
    "ProgressMeter",
    "SRA1Solver",
    "ShARK",
    "SingleStep",
    "StepNoise",
    "StepTable",
    "TimeGrid",
    "Tsit5",
    "adams_table",
    "adapted",
    "ancestral",
    "ancestral_large",
    "annealed_langevin",
    "brownian_tree",
    "dpm_solver_2",
    "dpm_solver_3",
    "euler",
    "euler_maruyama",
    "geometric",
    "heun",
    "langevin",
    "log_snr",
    "no_corrector",
    "no_predictor",
    "noise_adams_table",
    "noise_levels",
    "quadratic",
    "reverse_diffusion_step",
    "times_of_ratio",
    "told_apart",
    "uniform",
]
