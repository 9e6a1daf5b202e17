"""EDM on the digits: its SDE and sampler.

score-sde train --config=configs/digits/edm.py --workdir=runs/digits_edm
"""

from ml_collections import ConfigDict

from score_sde.configs.default import section
from score_sde.configs.digits import vp


def get_config() -> ConfigDict:
    """The recipe of ``digits/vp.py`` with the SDE of Karras et al. 2022, table 1, and
    their Heun sampler of 18 steps.
    """
    config = vp.get_config()
    config.sde = section("edm", sigma_max=80.0, t_min=2.5e-5, t_max=1.0)
    config.sampling = section("edm", num_steps=18, num_samples=256, batch_size=256, denoise=True)
    return config
