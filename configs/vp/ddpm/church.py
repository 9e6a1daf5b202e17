"""DDPM (Ho et al. 2020) on LSUN church 256 x 256. Published by Ho et al.: FID 7.89.

score-sde train --config=configs/vp/ddpm/church.py --workdir=runs/vp_ddpm_church
"""

from ml_collections import ConfigDict

from score_sde.configs import paper


def get_config() -> ConfigDict:
    """The published experiment of this name."""
    return paper.ddpm_256(paper.vp(paper.lsun("church_outdoor"), continuous=False))
