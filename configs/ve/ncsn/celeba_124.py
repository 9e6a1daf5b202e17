"""NCSN with the noise levels and steps of NCSNv2 on CelebA 64 x 64: techniques 1, 2 and
4 of Song & Ermon 2020.

score-sde train --config=configs/ve/ncsn/celeba_124.py --workdir=runs/ve_ncsn_celeba_124
"""

from ml_collections import ConfigDict

from score_sde.configs import paper


def get_config() -> ConfigDict:
    """The published experiment of this name."""
    return paper.ncsn(
        paper.celeba(), sigma_max=90.0, num_scales=500, snr=0.128, steps=5, ema_decay=0.0
    )
