"""DDPM (Ho et al. 2020) on CIFAR-10. Published: FID 3.24; by the ODE FID 3.37, 3.28 bits/dim.

score-sde train --config=configs/vp/ddpm/cifar10.py --workdir=runs/vp_ddpm_cifar10
"""

from ml_collections import ConfigDict

from score_sde.configs import paper


def get_config() -> ConfigDict:
    """The published experiment of this name."""
    return paper.ddpm(paper.vp(paper.cifar10(), continuous=False))
