"""The network of DDPM under the sub-VP SDE on CIFAR-10. Published: by the ODE FID 3.56,
3.05 bits/dim.

score-sde train --config=configs/subvp/cifar10_ddpm_continuous.py --workdir=runs/subvp_cifar10_ddpm_continuous
"""  # noqa: E501

from ml_collections import ConfigDict

from score_sde.configs import paper


def get_config() -> ConfigDict:
    """The published experiment of this name."""
    return paper.ddpm(paper.subvp(paper.cifar10()))
