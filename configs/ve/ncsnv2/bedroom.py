"""NCSNv2 (Song & Ermon 2020) with 1,086 noise levels on LSUN bedroom 128 x 128.
Published: samples, no FID.

score-sde train --config=configs/ve/ncsnv2/bedroom.py --workdir=runs/ve_ncsnv2_bedroom
"""

from ml_collections import ConfigDict

from score_sde.configs import paper


def get_config() -> ConfigDict:
    """The published experiment of this name."""
    config = paper.lsun("bedroom", image_size=128)
    config.training.batch_size = 128
    return paper.ncsnv2(
        config, sigma_max=190.0, num_scales=1086, snr=0.095, steps=3, ema_decay=0.9999
    )
