"""VP SDE on the 8 x 8 digits of the UCI repository: the quickstart.

score-sde train --config=configs/digits/vp.py --workdir=runs/digits
"""

from ml_collections import ConfigDict

from score_sde.configs.default import get_default_config, section


def get_config() -> ConfigDict:
    """A small U-Net with the preconditioning, noise levels and weighting of EDM, which
    makes readable digits in a minute on two CPU cores.
    """
    config = get_default_config()
    config.model.channels = 16
    config.model.attention_resolutions = ()  # attention here costs a tenth of the time
    config.parameterization = section("edm", sigma_data=0.8, time_label="log_noise_to_signal")
    config.objective = section(
        "denoising",
        weighting=section("edm", sigma_data=0.8),
        reduce="mean",
        stratified=False,
        # The log-normal of EDM, for data of standard deviation 0.8 in place of 0.5.
        time_sampling=section("log_normal", mean=-0.73, std=1.2, t_min=1e-5),
    )
    config.optim.lr = 4e-3
    config.optim.beta2 = 0.99
    config.optim.warmup = 50
    config.optim.decay = "cosine"
    config.sampling = section("default", nfe=10, num_samples=297, batch_size=297, denoise=True)
    config.eval.rtol = config.eval.atol = 1e-3
    config.eval.batch_size = 99  # the 297 held-out digits in three batches
    config.training.num_steps = 1500
    config.training.batch_size = 64
    config.training.ema_decay = 0.993
    config.training.log_every = 20
    config.training.eval_every = 250
    config.training.checkpoint_every = 750
    config.training.sample_every = 150
    return config
