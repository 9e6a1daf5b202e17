"""NCSN++ with the 1,000 levels of DDPM on CIFAR-10. No published number.

score-sde train --config=configs/vp/cifar10_ncsnpp.py --workdir=runs/vp_cifar10_ncsnpp
"""

from ml_collections import ConfigDict

from score_sde.configs import paper


def get_config() -> ConfigDict:
    """The published experiment of this name."""
    config = paper.ncsnpp(paper.vp(paper.cifar10(), continuous=False))
    config.sampling.predictor = "reverse_diffusion"
    return config
