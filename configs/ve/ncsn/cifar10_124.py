"""NCSN with the noise levels and steps of NCSNv2 on CIFAR-10: techniques 1, 2 and 4 of
Song & Ermon 2020.

score-sde train --config=configs/ve/ncsn/cifar10_124.py --workdir=runs/ve_ncsn_cifar10_124
"""

from ml_collections import ConfigDict

from score_sde.configs import paper


def get_config() -> ConfigDict:
    """The published experiment of this name."""
    return paper.ncsn(
        paper.cifar10(), sigma_max=50.0, num_scales=232, snr=0.176, steps=5, ema_decay=0.0
    )
