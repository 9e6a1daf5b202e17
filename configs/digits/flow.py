"""Rectified flow on the digits: flow matching on straight paths.

score-sde train --config=configs/digits/flow.py --workdir=runs/digits_flow
"""

from ml_collections import ConfigDict

from score_sde.configs.default import section
from score_sde.configs.digits import vp


def get_config() -> ConfigDict:
    """The recipe of ``digits/vp.py`` with the rectified flow, uniform times and the
    weighting of flow matching.
    """
    config = vp.get_config()
    config.sde = section("rectified_flow", t_min=1e-3, t_max=0.998)
    config.parameterization = section("flow", time_label="log_noise_to_signal")
    config.objective = section(
        "denoising",
        weighting="flow_matching",
        reduce="mean",
        stratified=True,
        time_sampling=section("uniform", t_min=1e-5),
    )
    return config
