"""NCSN++ under the VE SDE on LSUN bedroom 256 x 256. Published: samples, no FID.

score-sde train --config=configs/ve/bedroom_ncsnpp_continuous.py --workdir=runs/ve_bedroom_ncsnpp_continuous
"""  # noqa: E501

from ml_collections import ConfigDict

from score_sde.configs import paper


def get_config() -> ConfigDict:
    """The published experiment of this name."""
    return paper.ncsnpp_256(
        paper.ve(paper.lsun("bedroom"), sigma_max=378.0, num_scales=2000, snr=0.075)
    )
