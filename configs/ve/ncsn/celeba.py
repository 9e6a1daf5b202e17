"""NCSN (Song & Ermon 2019) with 10 noise levels on CelebA 64 x 64. No published number.

score-sde train --config=configs/ve/ncsn/celeba.py --workdir=runs/ve_ncsn_celeba
"""

from ml_collections import ConfigDict

from score_sde.configs import paper


def get_config() -> ConfigDict:
    """The published experiment of this name."""
    return paper.ncsn(
        paper.celeba(), sigma_max=1.0, num_scales=10, snr=0.316, steps=100, ema_decay=0.0
    )
