"""Samplers, and the functions that draw with them.

A sampler is a frozen value: a method with its grid or its tolerances. It carries a
latent from ``t_max`` to ``t_min`` by the reverse SDE or the probability-flow ODE.
Everything is written for one sample; ``jax.vmap`` over keys makes a batch, in which
sample ``i`` depends on ``keys[i]`` alone.

A new sampler is a frozen dataclass with a method ``integrate(problem) -> Sample`` (see
`Sampler.integrate`).
"""

from score_sde.sampling.adaptive import AdaptiveSDE, ProbabilityFlow, adaptive_nfe
from score_sde.sampling.annealed_langevin import AnnealedLangevin
from score_sde.sampling.base import GridSampler, Sample, Sampler
from score_sde.sampling.correctors import Corrector, annealed_langevin, langevin, no_corrector
from score_sde.sampling.discrete import DiscreteDDIM, DiscreteDDPM, DiscreteSampler
from score_sde.sampling.drawing import decode, encode, sample
from score_sde.sampling.exponential import (
    DDIM,
    DEIS,
    ERSDE,
    IPNDM,
    AdamsBashforth,
    DPMSolverPP,
    SDEDPMSolverPP,
    UniPC,
    default_sampler,
)
from score_sde.sampling.multistep import ExponentialSampler
from score_sde.sampling.multistep_weights import ExtendedReverse, Power, adams_table
from score_sde.sampling.predictor_corrector import PredictorCorrector
from score_sde.sampling.predictors import (
    Predictor,
    ancestral,
    ancestral_large,
    euler_maruyama,
    no_predictor,
    reverse_diffusion_step,
)
from score_sde.sampling.problem import Problem
from score_sde.sampling.projection import Projection
from score_sde.sampling.runge_kutta import SRA1, EulerMaruyama, ExponentialShARK, Heun, ShARK
from score_sde.sampling.singlestep import EDM, DPMSolver, Restart
from score_sde.sampling.solver_tables import SolverTable, solve_table
from score_sde.sampling.thresholding import (
    DynamicThreshold,
    StaticThreshold,
    Threshold,
    thresholded,
)

__all__ = [
    "DDIM",
    "DEIS",
    "EDM",
    "ERSDE",
    "IPNDM",
    "SRA1",
    "AdamsBashforth",
    "AdaptiveSDE",
    "AnnealedLangevin",
    "Corrector",
    "DPMSolver",
    "DPMSolverPP",
    "DiscreteDDIM",
    "DiscreteDDPM",
    "DiscreteSampler",
    "DynamicThreshold",
    "EulerMaruyama",
    "ExponentialSampler",
    "ExponentialShARK",
    "ExtendedReverse",
    "GridSampler",
    "Heun",
    "Power",
    "Predictor",
    "PredictorCorrector",
    "ProbabilityFlow",
    "Problem",
    "Projection",
    "Restart",
    "SDEDPMSolverPP",
    "Sample",
    "Sampler",
    "ShARK",
    "SolverTable",
    "StaticThreshold",
    "Threshold",
    "UniPC",
    "adams_table",
    "adaptive_nfe",
    "ancestral",
    "ancestral_large",
    "annealed_langevin",
    "decode",
    "default_sampler",
    "encode",
    "euler_maruyama",
    "langevin",
    "no_corrector",
    "no_predictor",
    "reverse_diffusion_step",
    "sample",
    "solve_table",
    "thresholded",
]
