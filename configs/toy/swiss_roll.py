"""VP SDE on a swiss roll in two dimensions; a minute on a laptop.

score-sde train --config=configs/toy/swiss_roll.py --workdir=runs/swiss_roll
"""

from ml_collections import ConfigDict

from score_sde.configs.default import get_default_config, section


def get_config() -> ConfigDict:
    """An MLP, and the probability-flow ODE to sample it."""
    config = get_default_config()
    config.data = ConfigDict({"source": "swiss_roll"})
    config.model = section(
        "mlp",
        hidden_sizes=(128, 128, 128),
        embedding_dim=32,
        embedding="fourier",
        fourier_scale=1.0,
        activation="silu",
        dropout=0.0,
        dtype="float32",
    )
    config.optim.lr = 1e-3
    config.optim.warmup = 100
    config.training.num_steps = 5000
    config.training.batch_size = 512
    config.training.ema_decay = 0.999
    config.sampling = section(
        "probability_flow",
        solver="tsit5",
        rtol=1e-4,
        atol=1e-4,
        num_samples=2000,
        batch_size=2000,
        denoise=True,
    )
    config.eval.divergence = section("exact")
    config.eval.batch_size = 512
    return config
