"""Sub-VP SDE on two moons: trained and drawn in seconds.

score-sde train --config=configs/toy/moons.py --workdir=runs/moons
score-sde sample --workdir=runs/moons

The second command writes data, samples, trajectories and the exact log density to
runs/moons/samples/samples.png.
"""

from ml_collections import ConfigDict

from score_sde.configs.toy import swiss_roll


def get_config() -> ConfigDict:
    """The recipe of ``toy/swiss_roll.py`` with the sub-VP SDE."""
    config = swiss_roll.get_config()
    config.data.source = "moons"
    config.sde.name = "subvp"
    return config
