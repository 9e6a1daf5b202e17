"""A variational dequantizer for a trained image model.

score-sde train-dequantizer --workdir=runs/cifar10 --config=configs/dequantizer/images.py
score-sde likelihood --workdir=runs/cifar10 --dequantizer=runs/cifar10/dequantizer
"""

from ml_collections import ConfigDict

from score_sde.configs.default import get_default_dequantizer_config


def get_config() -> ConfigDict:
    """Eight couplings of 32 channels."""
    return get_default_dequantizer_config()
