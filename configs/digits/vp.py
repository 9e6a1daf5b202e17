"""VP SDE on the digits of scikit-learn: the quickstart.

score-sde train --config=configs/digits/vp.py --workdir=runs/digits
"""

from ml_collections import ConfigDict

from score_sde.configs.default import get_default_config


def get_config() -> ConfigDict:
    """A small U-Net that makes readable digits in a few minutes on two CPU cores."""
    config = get_default_config()
    config.optim.lr = 2e-3
    config.optim.warmup = 100
    config.sampling.num_steps = 250
    config.sampling.grid = "uniform"
    config.eval.rtol = config.eval.atol = 1e-4
    config.training.num_steps = 1200
    config.training.ema_decay = 0.995
    config.training.log_every = 20
    config.training.eval_every = 200
    config.training.checkpoint_every = 400
    config.training.sample_every = 600
    return config
