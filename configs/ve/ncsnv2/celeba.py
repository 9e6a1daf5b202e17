"""NCSNv2 (Song & Ermon 2020) with 500 noise levels on CelebA 64 x 64. Published: FID 10.23.

score-sde train --config=configs/ve/ncsnv2/celeba.py --workdir=runs/ve_ncsnv2_celeba
"""

from ml_collections import ConfigDict

from score_sde.configs import paper


def get_config() -> ConfigDict:
    """The published experiment of this name."""
    return paper.ncsnv2(paper.celeba(), sigma_max=90.0, num_scales=500, snr=0.128)
