"""NCSN++ with 1,000 noise levels on CelebA 64 x 64. Reported by its author: FID about 2.5.

score-sde train --config=configs/ve/celeba_ncsnpp.py --workdir=runs/ve_celeba_ncsnpp
"""

from ml_collections import ConfigDict

from score_sde.configs import paper


def get_config() -> ConfigDict:
    """The published experiment of this name."""
    return paper.ncsnpp(paper.ve(paper.celeba(), sigma_max=90.0, snr=0.17, continuous=False))
