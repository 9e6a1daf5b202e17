"""DDPM (Ho et al. 2020) on CelebA-HQ 256 x 256. Published by Ho et al.: samples, no FID.

score-sde train --config=configs/vp/ddpm/celebahq.py --workdir=runs/vp_ddpm_celebahq
"""

from ml_collections import ConfigDict

from score_sde.configs import paper


def get_config() -> ConfigDict:
    """The published experiment of this name."""
    return paper.ddpm_256(paper.vp(paper.celebahq(), continuous=False))
