"""NCSN with the averaged parameters of NCSNv2 on CIFAR-10: technique 5 of Song &
Ermon 2020 alone.

score-sde train --config=configs/ve/ncsn/cifar10_5.py --workdir=runs/ve_ncsn_cifar10_5
"""

from ml_collections import ConfigDict

from score_sde.configs import paper


def get_config() -> ConfigDict:
    """The published experiment of this name."""
    return paper.ncsn(
        paper.cifar10(), sigma_max=1.0, num_scales=10, snr=0.316, steps=100, ema_decay=0.999
    )
