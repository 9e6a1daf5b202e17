"""VE SDE on the digits of scikit-learn, with predictor-corrector sampling.

score-sde train --config=configs/digits/ve.py --workdir=runs/digits_ve
"""

from ml_collections import ConfigDict

from score_sde.configs.default import section
from score_sde.configs.digits import vp


def get_config() -> ConfigDict:
    """The recipe of ``digits/vp.py`` with the VE SDE, EDM preconditioning and a
    Langevin corrector.
    """
    config = vp.get_config()
    # The largest distance between two digits is 9.1 in model units; EDM keeps the
    # network's input of unit variance.
    config.sde = section("ve", sigma_min=0.01, sigma_max=10.0, t_min=1e-5, t_max=1.0)
    config.parameterization = section("edm", sigma_data=0.8, time_label="log_noise_to_signal")
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
