"""VE SDE on the digits, with predictor-corrector sampling.

score-sde train --config=configs/digits/ve.py --workdir=runs/digits_ve
"""

from ml_collections import ConfigDict

from score_sde.configs.default import section
from score_sde.configs.digits import vp


def get_config() -> ConfigDict:
    """The recipe of ``digits/vp.py`` with the VE SDE and a Langevin corrector."""
    config = vp.get_config()
    # The largest distance between two digits is 9.1 in model units.
    config.sde = section("ve", sigma_min=0.01, sigma_max=10.0, t_min=1e-5, t_max=1.0)
    config.sampling = section(
        "predictor_corrector",
        num_steps=250,
        predictor="reverse_diffusion",
        snr=0.16,
        corrector_steps=1,
        grid="uniform",
        num_samples=256,
        batch_size=256,
        denoise=True,
    )
    return config
