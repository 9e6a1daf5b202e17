"""NCSN++ deep under the sub-VP SDE on CIFAR-10. No published number.

score-sde train --config=configs/subvp/cifar10_ncsnpp_deep_continuous.py --workdir=runs/subvp_cifar10_ncsnpp_deep
"""  # noqa: E501

from ml_collections import ConfigDict

from score_sde.configs import paper


def get_config() -> ConfigDict:
    """The published experiment of this name."""
    return paper.deep(paper.ncsnpp(paper.subvp(paper.cifar10())))
