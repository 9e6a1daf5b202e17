"""The digits are the real ones, split as documented."""

import numpy as np
import pytest

from score_sde.data import digits
from score_sde.data.digits import FILE


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


def test_the_file_has_the_digits_of_scikit_learn_in_their_order():
    """Else models that were trained on them would have another split."""
    images, labels = pytest.importorskip("sklearn.datasets").load_digits(return_X_y=True)
    with np.load(FILE) as arrays:
        assert {name: arrays[name].dtype for name in arrays} == {"images": "u1", "labels": "u1"}
        np.testing.assert_array_equal(arrays["images"], images.reshape(-1, 8, 8))
        np.testing.assert_array_equal(arrays["labels"], labels)
