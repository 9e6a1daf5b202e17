"""Stochastic differential equations that carry data to noise, one file each."""

from score_sde.sdes.base import SDE, Marginal, perturb, prior_log_prob, prior_sample
from score_sde.sdes.brownian import BrownianMotion
from score_sde.sdes.cosine import CosineSDE
from score_sde.sdes.discrete_vp import DiscreteVPSDE
from score_sde.sdes.discretization import DiscreteMarginals, ddpm_betas, ddpm_marginals, smld_sigmas
from score_sde.sdes.edm import EDMSDE
from score_sde.sdes.flow import RectifiedFlowSDE
from score_sde.sdes.noise_schedule import scheduled_betas
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
    "RectifiedFlowSDE",
    "SubVPSDE",
    "ddpm_betas",
    "ddpm_marginals",
    "perturb",
    "prior_log_prob",
    "prior_sample",
    "scheduled_betas",
    "smld_sigmas",
]
