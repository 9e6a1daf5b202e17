"""NCSNv2 (Song & Ermon 2020) with 232 noise levels on CIFAR-10. Published: FID 10.87, IS 8.40.

score-sde train --config=configs/ve/ncsnv2/cifar10.py --workdir=runs/ve_ncsnv2_cifar10
"""

from ml_collections import ConfigDict

from score_sde.configs import paper


def get_config() -> ConfigDict:
    """The published experiment of this name."""
    return paper.ncsnv2(paper.cifar10(), sigma_max=50.0, num_scales=232, snr=0.176)
