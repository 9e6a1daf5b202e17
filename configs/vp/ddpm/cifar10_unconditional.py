"""DDPM on CIFAR-10 with a network that is not conditioned on the noise level. No published number.

score-sde train --config=configs/vp/ddpm/cifar10_unconditional.py --workdir=runs/vp_ddpm_cifar10_unconditional
"""  # noqa: E501

from ml_collections import ConfigDict

from score_sde.configs import paper


def get_config() -> ConfigDict:
    """The published experiment of this name."""
    return paper.ddpm(paper.vp(paper.cifar10(), continuous=False), conditional=False)
