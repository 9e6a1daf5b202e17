"""NCSN++ under the VE SDE on CelebA-HQ 1024 x 1024, 8 images a step. Published: samples, no FID.

score-sde train --config=configs/ve/celebahq_ncsnpp_continuous.py --workdir=runs/ve_celebahq_ncsnpp_continuous
"""  # noqa: E501

from ml_collections import ConfigDict

from score_sde.configs import paper


def get_config() -> ConfigDict:
    """The published experiment of this name."""
    config = paper.ve(paper.celebahq(image_size=1024), sigma_max=1348.0, num_scales=2000, snr=0.15)
    config.training.batch_size = 8
    config.training.ema_decay = 0.9999
    return paper.ncsnpp_256(config, nf=16, ch_mult=(1, 2, 4, 8, 16, 32, 32, 32), num_res_blocks=1)
