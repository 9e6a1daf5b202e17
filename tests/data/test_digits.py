"""The digits are the real ones, split as documented."""

import numpy as np

from score_sde.data import digits


def test_digits_are_complete_and_split():
    source = digits()
    assert source.shape == (8, 8, 1)
    assert source.num_levels == 17
    assert (len(source.train), len(source.test)) == (1500, 297)
    assert source.train.dtype == np.uint8
    assert source.train.max() == 16
    assert source.train_labels.dtype == np.int32
    # Every class is a tenth of the data, give or take.
    assert np.bincount(source.train_labels, minlength=10).min() > 120
    assert np.bincount(source.test_labels, minlength=10).min() > 15


def test_labels_belong_to_their_images():
    """A nearest-neighbour classifier of the held-out digits is right in more than 95 of
    100 cases.
    """
    source = digits(seed=1)
    train, test = (
        split.reshape(len(split), -1).astype(np.float64) for split in (source.train, source.test)
    )
    distance = (test**2).sum(1)[:, None] - 2 * test @ train.T + (train**2).sum(1)
    assert (source.train_labels[distance.argmin(axis=1)] == source.test_labels).mean() > 0.95


def test_the_seed_chooses_the_split():
    assert np.array_equal(digits().test, digits().test)
    assert not np.array_equal(digits().test, digits(seed=1).test)
    assert len(digits(test_fraction=0.5).test) in (898, 899)
