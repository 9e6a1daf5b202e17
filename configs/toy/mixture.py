"""VE SDE on a mixture of Gaussians in two dimensions, which has an exact score.

score-sde train --config=configs/toy/mixture.py --workdir=runs/mixture
"""

from ml_collections import ConfigDict

from score_sde.configs.default import section
from score_sde.configs.toy import swiss_roll


def get_config() -> ConfigDict:
    """The recipe of ``toy/swiss_roll.py`` with the VE SDE."""
    config = swiss_roll.get_config()
    config.data.source = "mixture"
    config.sde = section("ve", sigma_min=0.01, sigma_max=8.0, t_min=1e-5, t_max=1.0)
    return config
