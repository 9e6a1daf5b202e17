"""The network of DDPM with 1,000 VE noise levels on CIFAR-10. No published number.

score-sde train --config=configs/ve/cifar10_ddpm.py --workdir=runs/ve_cifar10_ddpm
"""

from ml_collections import ConfigDict

from score_sde.configs import paper


def get_config() -> ConfigDict:
    """The published experiment of this name."""
    return paper.ddpm(paper.ve(paper.cifar10(), continuous=False))
