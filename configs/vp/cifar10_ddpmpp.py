"""DDPM++ with the 1,000 levels of DDPM on CIFAR-10. Published: FID 2.78, IS 9.64.

score-sde train --config=configs/vp/cifar10_ddpmpp.py --workdir=runs/vp_cifar10_ddpmpp
"""

from ml_collections import ConfigDict

from score_sde.configs import paper


def get_config() -> ConfigDict:
    """The published experiment of this name."""
    return paper.ddpmpp(paper.vp(paper.cifar10(), continuous=False))
