"""NCSN++ under the VE SDE on LSUN church 256 x 256. Published: samples, no FID.

score-sde train --config=configs/ve/church_ncsnpp_continuous.py --workdir=runs/ve_church_ncsnpp_continuous
"""  # noqa: E501

from ml_collections import ConfigDict

from score_sde.configs import paper


def get_config() -> ConfigDict:
    """The published experiment of this name."""
    return paper.ncsnpp_256(
        paper.ve(paper.lsun("church_outdoor"), sigma_max=380.0, num_scales=2000, snr=0.075)
    )
