"""NCSN++ deep under the VE SDE on CIFAR-10. Published: FID 2.20, IS 9.89 (2,000 evaluations).

score-sde train --config=configs/ve/cifar10_ncsnpp_deep_continuous.py --workdir=runs/ve_cifar10_ncsnpp_deep_continuous
"""  # noqa: E501

from ml_collections import ConfigDict

from score_sde.configs import paper


def get_config() -> ConfigDict:
    """The published experiment of this name."""
    return paper.deep(paper.ncsnpp(paper.ve(paper.cifar10())))
