"""The network of DDPM under the VP SDE on CIFAR-10. Published: by the ODE FID 3.69, 3.21 bits/dim.

score-sde train --config=configs/vp/ddpm/cifar10_continuous.py --workdir=runs/vp_ddpm_cifar10_continuous
"""  # noqa: E501

from ml_collections import ConfigDict

from score_sde.configs import paper


def get_config() -> ConfigDict:
    """The published experiment of this name."""
    return paper.ddpm(paper.vp(paper.cifar10()))
