"""VP SDE on a checkerboard in two dimensions: sharp edges.

score-sde train --config=configs/toy/checkerboard.py --workdir=runs/checkerboard
"""

from ml_collections import ConfigDict

from score_sde.configs.toy import swiss_roll


def get_config() -> ConfigDict:
    """The recipe of ``toy/swiss_roll.py``."""
    config = swiss_roll.get_config()
    config.data.source = "checkerboard"
    return config
