"""NCSN (Song & Ermon 2019) with 10 noise levels on CIFAR-10. Published: FID 25.32, IS 8.87.

score-sde train --config=configs/ve/ncsn/cifar10.py --workdir=runs/ve_ncsn_cifar10
"""

from ml_collections import ConfigDict

from score_sde.configs import paper


def get_config() -> ConfigDict:
    """The published experiment of this name."""
    return paper.ncsn(
        paper.cifar10(), sigma_max=1.0, num_scales=10, snr=0.316, steps=100, ema_decay=0.0
    )
