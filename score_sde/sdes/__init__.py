"""Stochastic differential equations that carry data to noise, one file each."""

from score_sde.sdes.base import SDE, Marginal, perturb, prior_log_prob, prior_sample
from score_sde.sdes.brownian import BrownianMotion
from score_sde.sdes.subvp import SubVPSDE
from score_sde.sdes.ve import VESDE
from score_sde.sdes.vp import VPSDE

__all__ = [
    "SDE",
    "VESDE",
    "VPSDE",
    "BrownianMotion",
    "Marginal",
    "SubVPSDE",
    "perturb",
    "prior_log_prob",
    "prior_sample",
]
