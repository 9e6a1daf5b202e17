"""Sub-VP SDE on the digits: better likelihoods than VP at the same cost.

score-sde train --config=configs/digits/subvp.py --workdir=runs/digits_subvp
"""

from ml_collections import ConfigDict

from score_sde.configs.digits import vp


def get_config() -> ConfigDict:
    """The recipe of ``digits/vp.py`` with the sub-VP SDE."""
    config = vp.get_config()
    config.sde.name = "subvp"
    return config
