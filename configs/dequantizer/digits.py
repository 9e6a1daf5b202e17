"""A variational dequantizer for a model of the digits: two minutes on two CPU cores.

score-sde train-dequantizer --workdir=runs/digits --config=configs/dequantizer/digits.py
score-sde likelihood --workdir=runs/digits --dequantizer=runs/digits/dequantizer
"""

from ml_collections import ConfigDict

from score_sde.configs.default import get_default_dequantizer_config


def get_config() -> ConfigDict:
    """Four couplings of 16 channels."""
    config = get_default_dequantizer_config()
    config.model.channels = 16
    config.model.num_couplings = 4
    config.model.num_blocks = 1
    config.objective.num_times = 4
    config.optim.lr = 2e-3
    config.optim.warmup = 50
    config.training.num_steps = 500
    config.training.batch_size = 32
    config.training.ema_decay = 0.98
    config.training.log_every = 20
    config.training.eval_every = 100
    config.training.checkpoint_every = 250
    return config
