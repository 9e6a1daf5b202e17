"""A small noise-conditional classifier of the digits under the VP SDE: a minute on two CPU cores.

Its accuracy on held-out digits is 99 % without noise and 88 % at t = 0.2; at t = 1 its
prediction is close to uniform.

score-sde train --config=configs/classifier/digits.py --workdir=runs/digits_classifier
"""

from ml_collections import ConfigDict

from score_sde.configs.default import get_default_classifier_config, section


def get_config() -> ConfigDict:
    """A wide residual network of 10 layers, a tenth as wide as for photographs."""
    config = get_default_classifier_config()
    config.model = section(
        "wideresnet",
        num_classes=10,
        blocks_per_group=1,
        channel_multiplier=1,
        embedding_dim=16,
        fourier_scale=1.0,
    )
    config.optim.lr = 2e-3
    config.optim.warmup = 100
    config.training.num_steps = 1500
    config.training.ema_decay = 0.995
    return config
