"""DDPM (Ho et al. 2020) on LSUN bedroom 256 x 256. Published by Ho et al.: FID 6.36.

score-sde train --config=configs/vp/ddpm/bedroom.py --workdir=runs/vp_ddpm_bedroom
"""

from ml_collections import ConfigDict

from score_sde.configs import paper


def get_config() -> ConfigDict:
    """The published experiment of this name."""
    return paper.ddpm_256(paper.vp(paper.lsun("bedroom"), continuous=False))
