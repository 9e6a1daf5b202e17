"""VP SDE on a swiss roll in two dimensions; a few seconds on a laptop.

score-sde train --config=configs/toy/swiss_roll.py --workdir=runs/swiss_roll
"""

from ml_collections import ConfigDict

from score_sde.configs.default import get_default_config, section


def get_config() -> ConfigDict:
    """A narrow MLP with the preconditioning and the weighting of EDM, and a few-step
    sampler of the probability-flow ODE.
    """
    config = get_default_config()
    config.data = ConfigDict({"source": "swiss_roll"})
    config.model = section(
        "mlp",
        hidden_sizes=(64, 64, 64),
        embedding_dim=32,
        embedding="fourier",
        fourier_scale=1.0,
        activation="silu",
        dropout=0.0,
        dtype="float32",
    )
    config.parameterization = section("edm", sigma_data=1.0, time_label="log_noise_to_signal")
    config.objective = section(
        "denoising",
        weighting=section("edm", sigma_data=1.0),
        reduce="mean",
        stratified=True,
        # Wider than in EDM: the noise of the toys is a tenth of their size.
        time_sampling=section("log_normal", mean=-1.2, std=1.5, t_min=1e-5),
    )
    config.optim.lr = 4e-3
    config.optim.beta2 = 0.99
    config.optim.warmup = 0
    config.optim.decay = "cosine"
    config.training.num_steps = 3000
    config.training.batch_size = 256
    config.training.ema_decay = 0.999
    config.training.sample_every = 0  # the whole training takes no longer than a few figures
    config.sampling = section("default", nfe=20, num_samples=2000, batch_size=2000, denoise=True)
    config.eval.divergence = section("exact")
    config.eval.batch_size = 512
    return config
