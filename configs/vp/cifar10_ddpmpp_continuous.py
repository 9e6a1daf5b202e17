"""DDPM++ under the VP SDE on CIFAR-10. Published: FID 2.55, IS 9.58; by the ODE FID
3.93, 3.16 bits/dim.

score-sde train --config=configs/vp/cifar10_ddpmpp_continuous.py --workdir=runs/vp_cifar10_ddpmpp_continuous
"""  # noqa: E501

from ml_collections import ConfigDict

from score_sde.configs import paper


def get_config() -> ConfigDict:
    """The published experiment of this name."""
    return paper.ddpmpp(paper.vp(paper.cifar10()))
