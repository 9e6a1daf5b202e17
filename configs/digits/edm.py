"""EDM on the digits of scikit-learn: its SDE, preconditioning, times and weighting.

score-sde train --config=configs/digits/edm.py --workdir=runs/digits_edm
"""

from ml_collections import ConfigDict

from score_sde.configs.default import section
from score_sde.configs.digits import vp


def get_config() -> ConfigDict:
    """The recipe of ``digits/vp.py`` with Karras et al. 2022, table 1, and its Heun
    sampler of 18 steps.
    """
    config = vp.get_config()
    config.sde = section("edm", sigma_max=80.0, t_min=2.5e-5, t_max=1.0)
    config.parameterization = section("edm", sigma_data=0.8, time_label="log_noise_to_signal")
    config.objective = section(
        "denoising",
        weighting=section("edm", sigma_data=0.8),
        reduce="mean",
        stratified=False,
        time_sampling=section("log_normal", mean=-1.2, std=1.2, t_min=1e-5),
    )
    config.sampling = section("edm", num_steps=18, num_samples=256, batch_size=256, denoise=True)
    return config
