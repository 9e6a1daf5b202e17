"""Networks: functions of a batch ``x [b, *shape]`` and time labels ``t [b]``, and their border to the mathematics."""

from score_sde.models.base import ScoreNetwork, from_linen, make_score_fn
from score_sde.models.embeddings import ACTIVATIONS, EMBEDDINGS
from score_sde.models.mlp import MLP, mlp
from score_sde.models.unet import UNet, unet

__all__ = [
    "ACTIVATIONS",
    "EMBEDDINGS",
    "MLP",
    "ScoreNetwork",
    "UNet",
    "from_linen",
    "make_score_fn",
    "mlp",
    "unet",
]
