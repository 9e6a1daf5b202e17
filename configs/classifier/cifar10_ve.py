"""The noise-conditional WRN-28-10 on CIFAR-10 under the VE SDE, for class-conditional
samples of ``ve/`` models.

Song et al. 2021 (appendix I.2) publish the network and its results without the details
of its training. The optimizer and the number of steps here are ours; the accuracy of
the result is not known.

score-sde train --config=configs/classifier/cifar10_ve.py --workdir=runs/cifar10_classifier
"""

from ml_collections import ConfigDict

from score_sde.configs.default import get_default_classifier_config, section


def get_config() -> ConfigDict:
    """38.9 M parameters, 200,000 steps of 128 images."""
    config = get_default_classifier_config()
    config.sde = section("ve", sigma_min=0.01, sigma_max=50.0, t_min=1e-5, t_max=1.0)
    config.model = section("wideresnet", num_classes=10, blocks_per_group=4, channel_multiplier=10)
    config.data = ConfigDict(
        {"source": "cifar10", "centered": False, "dequantize": False, "flip": True}
    )
    config.optim.lr = 2e-4
    config.optim.weight_decay = 1e-4
    config.training.num_steps = 200_000
    config.training.eval_every = 1000
    config.training.checkpoint_every = 5000
    return config
