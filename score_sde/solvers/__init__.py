"""Solvers, noise and time grids for diffrax."""

from diffrax import AbstractSolver, Dopri5, Euler, Heun, ShARK, Tsit5

from score_sde.solvers.brownian import AdditiveNoise, IndexedBrownianPath
from score_sde.solvers.clock import Clock
from score_sde.solvers.correctors import Langevin
from score_sde.solvers.grids import TimeGrid, quadratic, uniform
from score_sde.solvers.predictor_corrector import PredictorCorrectorSolver
from score_sde.solvers.predictors import Predictor, ancestral, ancestral_large, euler_maruyama, reverse_diffusion_step

__all__ = [
    "AbstractSolver",
    "AdditiveNoise",
    "Clock",
    "Dopri5",
    "Euler",
    "Heun",
    "IndexedBrownianPath",
    "Langevin",
    "Predictor",
    "PredictorCorrectorSolver",
    "ShARK",
    "TimeGrid",
    "Tsit5",
    "ancestral",
    "ancestral_large",
    "euler_maruyama",
    "quadratic",
    "reverse_diffusion_step",
    "uniform",
]
