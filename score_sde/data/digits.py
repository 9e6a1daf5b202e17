"""Handwritten digits: 1,797 real images that come with scikit-learn."""

import numpy as np

from score_sde.data.source import DataSource


def digits(*, test_fraction: float = 297 / 1797, seed: int = 0) -> DataSource:
    """Return the 8×8 grey digits of scikit-learn, with 17 levels (0 to 16) and their
    classes as labels.

    They are the test part of the "Optical Recognition of Handwritten Digits" data of the
    UCI repository (Alpaydin & Kaynak 1998). By default 1,500 images are for training
    and 297 are held out.

    >>> digits().train.shape
    (1500, 8, 8, 1)

    Args:
        test_fraction: fraction of the images that is held out.
        seed: seed of the random split.

    Raises:
        ValueError: where ``test_fraction`` is not between 0 and 1 or ``seed`` is
            negative.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return DataSource.from_examples(
        np.asarray(images).reshape(-1, 8, 8, 1).astype(np.uint8),
        num_levels=17,
        labels=np.asarray(labels).astype(np.int32),
        test_fraction=test_fraction,
        seed=seed,
    )
