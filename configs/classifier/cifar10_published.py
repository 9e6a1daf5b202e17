"""The noise-conditional classifier of Song et al. 2021, as published, for class-conditional
samples of ``ve/`` models: ``ss.load("checkpoint_N", ss.NoisyClassifier, config=...)``.

The network takes images in [0, 1], less the mean of each channel of CIFAR-10, divided by
its standard deviation. ``cifar10_ve.py`` trains the same network without this step.

score-sde train --config=configs/classifier/cifar10_published.py --workdir=runs/cifar10_published
"""

from ml_collections import ConfigDict

from score_sde.configs.classifier import cifar10_ve


def get_config() -> ConfigDict:
    """WRN-28-10, 38.9 M parameters."""
    config = cifar10_ve.get_config()
    config.model.mean = (0.49139968, 0.48215841, 0.44653091)
    config.model.std = (0.24703223, 0.24348513, 0.26158784)
    config.example = ConfigDict({"shape": (32, 32, 3), "num_levels": 256})
    return config
