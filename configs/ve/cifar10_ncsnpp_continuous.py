"""NCSN++ under the VE SDE on CIFAR-10. Published: FID 2.38, IS 9.83 (2,000 evaluations).

score-sde train --config=configs/ve/cifar10_ncsnpp_continuous.py --workdir=runs/ve_cifar10_ncsnpp_continuous
"""  # noqa: E501

from ml_collections import ConfigDict

from score_sde.configs import paper


def get_config() -> ConfigDict:
    """The published experiment of this name."""
    return paper.ncsnpp(paper.ve(paper.cifar10()))
