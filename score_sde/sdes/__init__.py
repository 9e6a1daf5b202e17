"""Stochastic differential equations that carry data to noise, one file each.

With them come their reverse and their probability flow, the exact simulation of the
forward SDE, the noise tables of discrete-time models, and mixtures of Gaussians, whose
scores are exact.
"""

from score_sde.sdes.base import SDE, Marginal, perturb, prior_log_prob, prior_sample, starting_at
from score_sde.sdes.brownian import BrownianMotion
from score_sde.sdes.cosine import CosineSDE
from score_sde.sdes.discrete_vp import DiscreteVPSDE
from score_sde.sdes.discretization import (
    DiscreteMarginals,
    ddpm_betas,
    ddpm_marginals,
    scheduled_betas,
    smld_sigmas,
)
from score_sde.sdes.edm import EDMSDE
from score_sde.sdes.flow import RectifiedFlowSDE
from score_sde.sdes.mixture import Mixture
from score_sde.sdes.reverse import denoise, probability_flow, reverse_diffusion, reverse_drift
from score_sde.sdes.simulation import Simulation, simulate
from score_sde.sdes.subvp import SubVPSDE
from score_sde.sdes.ve import VESDE
from score_sde.sdes.vp import VPSDE

__all__ = [
    "EDMSDE",
    "SDE",
    "VESDE",
    "VPSDE",
    "BrownianMotion",
    "CosineSDE",
    "DiscreteMarginals",
    "DiscreteVPSDE",
    "Marginal",
    "Mixture",
    "RectifiedFlowSDE",
    "Simulation",
    "SubVPSDE",
    "ddpm_betas",
    "ddpm_marginals",
    "denoise",
    "perturb",
    "prior_log_prob",
    "prior_sample",
    "probability_flow",
    "reverse_diffusion",
    "reverse_drift",
    "scheduled_betas",
    "simulate",
    "smld_sigmas",
    "starting_at",
]
