"""NCSN++ under the VP SDE on CIFAR-10. No published number.

score-sde train --config=configs/vp/cifar10_ncsnpp_continuous.py --workdir=runs/vp_cifar10_ncsnpp_continuous
"""  # noqa: E501

from ml_collections import ConfigDict

from score_sde.configs import paper


def get_config() -> ConfigDict:
    """The published experiment of this name."""
    return paper.ncsnpp(paper.vp(paper.cifar10()))
