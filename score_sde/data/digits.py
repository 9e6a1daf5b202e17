"""Handwritten digits: 1,797 real images that come with this package."""

from pathlib import Path

import numpy as np

from score_sde.data.source import DataSource

FILE = Path(__file__).with_name("digits.npz")
"""The images and labels in the order of scikit-learn; `scripts/make_digits.py` writes them."""


def digits(*, test_fraction: float = 297 / 1797, seed: int = 0) -> DataSource:
    """Return the 8×8 grey digits of scikit-learn's ``load_digits``, with 17 levels (0 to
    16) and their classes as labels.

    They are the test part of the "Optical Recognition of Handwritten Digits" data of the
    UCI repository (Alpaydin & Kaynak 1998), under the licence CC BY 4.0
    (https://creativecommons.org/licenses/by/4.0); only the file format is changed. By
    default 1,500 images are for training and 297 are held out.

    >>> digits().train.shape
    (1500, 8, 8, 1)

    Args:
        test_fraction: fraction of the images that is held out.
        seed: seed of the random split.

    Raises:
        ValueError: where ``test_fraction`` is not between 0 and 1 or ``seed`` is
            negative.
    """
    with np.load(FILE) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    return DataSource.from_examples(
        images[..., None],
        num_levels=17,
        labels=labels.astype(np.int32),
        test_fraction=test_fraction,
        seed=seed,
    )
