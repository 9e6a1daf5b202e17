"""Networks, functions of a batch ``x [b, *shape]`` and time labels ``t [b]``, and their
score functions of one sample.
"""

from score_sde.models.base import ScoreNetwork, call_order, from_linen, make_score_fn
from score_sde.models.conditions import Arrays, ClassLabel, Condition
from score_sde.models.coupling_flow import ConditionalFlow, coupling_flow
from score_sde.models.ddpm import DDPMNet, ddpm
from score_sde.models.embeddings import ACTIVATIONS, EMBEDDINGS
from score_sde.models.equinox_modules import from_equinox
from score_sde.models.mlp import MLP, mlp
from score_sde.models.ncsn import ncsn
from score_sde.models.ncsnpp import NCSNpp, ncsnpp
from score_sde.models.ncsnv2 import ncsnv2
from score_sde.models.nnx_modules import from_nnx
from score_sde.models.plain import from_functions
from score_sde.models.unet import UNet, unet
from score_sde.models.wideresnet import Classifier, make_log_prob_fn, wideresnet

__all__ = [
    "ACTIVATIONS",
    "EMBEDDINGS",
    "MLP",
    "Arrays",
    "ClassLabel",
    "Classifier",
    "Condition",
    "ConditionalFlow",
    "DDPMNet",
    "NCSNpp",
    "ScoreNetwork",
    "UNet",
    "call_order",
    "coupling_flow",
    "ddpm",
    "from_equinox",
    "from_functions",
    "from_linen",
    "from_nnx",
    "make_log_prob_fn",
    "make_score_fn",
    "mlp",
    "ncsn",
    "ncsnpp",
    "ncsnv2",
    "unet",
    "wideresnet",
]
