"""DataSource: right data, errors for wrong data, and fixed splits."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from score_sde.data import DataSource, permutation


def images(n=6, levels=256):
    return np.random.default_rng(0).integers(levels, size=(n, 4, 3, 1)).astype(np.uint8)


def vectors(n=6):
    return np.random.default_rng(0).normal(size=(n, 2)).astype(np.float32)


def test_images_and_vectors_are_kept_as_they_are():
    source = DataSource(train=images(), test=images(2), num_levels=256)
    assert source.shape == (4, 3, 1)
    assert source.train.dtype == np.uint8
    np.testing.assert_array_equal(source.train, images())
    assert source.train_labels is None
    source = DataSource(train=vectors(), test=vectors(1), num_levels=None, shape=(2,))
    assert source.train.dtype == np.float32
    np.testing.assert_array_equal(source.test, vectors(1))


def test_arrays_are_stored_small_and_read_only():
    wide = images().astype(np.int64)
    assert DataSource(train=wide, test=wide, num_levels=256).train.dtype == np.uint8
    assert DataSource(train=wide, test=wide, num_levels=257).train.dtype == np.int32
    doubles = vectors().astype(np.float64)
    assert DataSource(train=doubles, test=doubles, num_levels=None).test.dtype == np.float32
    given_array = images()
    source = DataSource(train=given_array, test=images(1), num_levels=256)
    with pytest.raises(ValueError, match="read-only"):
        source.train[0] = 0
    given_array[0] = 0  # the caller's own array stays writable


def with_value(array, row, value):
    array = array.copy()
    array.reshape(len(array), -1)[row, -1] = value
    return array


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"train": with_value(vectors(), 3, np.nan)},
            "train example 3 has a NaN or infinite value",
        ),
        ({"test": with_value(vectors(), 5, -np.inf)}, "test example 5 has a NaN or infinite value"),
        (
            {"train": with_value(vectors().astype(float), 2, 1e300)},
            "train example 2 has .* finite in float32",
        ),
        ({"train": vectors()[:0]}, "the train split has no examples"),
        ({"test": vectors()[:0]}, "the test split has no examples"),
        ({"train": vectors()[:, :0]}, r"train examples of shape \(0,\) have no values"),
        (
            {"test": np.zeros((2, 3), np.float32)},
            r"test examples have shape \(3,\) where \(2,\) was expected",
        ),
        ({"shape": (4,)}, r"train examples have shape \(2,\) where \(4,\) was expected"),
        (
            {"train": images(), "test": images()},
            "train examples are uint8: continuous data are floats",
        ),
        (
            {"train_labels": np.zeros(5, np.int32)},
            r"train_labels must be integers of shape \(6,\).*shape \(5,\)",
        ),
        ({"test_labels": np.zeros(6)}, r"test_labels must be integers .* not float64"),
        ({"num_levels": 1}, "num_levels=1 must be from 2 to 65536, or None"),
        ({"num_levels": 70_000}, "num_levels=70000 must be from 2 to 65536, or None"),
        ({"num_levels": 4}, "train examples are float32; with num_levels=4 they must be integers"),
        (
            {"num_levels": 4, "train": with_value(vectors(), 1, np.nan)},
            "train examples have a NaN .* example 1",
        ),
        (
            {"num_levels": 17, "train": with_value(images(6, 17), 4, 17), "test": images(1, 17)},
            "train example 4 .*to 16",
        ),
        (
            {
                "num_levels": 17,
                "train": images(6, 17),
                "test": with_value(images(6, 17).astype(int), 0, -1),
            },
            r"test example 0 has levels -1 to \d+; they must lie in 0 to 16 \(num_levels=17\)",
        ),
    ],
)
def test_bad_data_are_errors_of_one_line(arguments, message):
    valid = {"train": vectors(), "test": vectors(), "num_levels": None}
    with pytest.raises(ValueError, match=message) as caught:
        DataSource(**(valid | arguments))
    assert "\n" not in str(caught.value)


def test_split_is_fixed_disjoint_and_complete():
    rows = np.arange(50, dtype=np.float32)[:, None]
    labels = np.arange(50)
    one, two = (
        DataSource.from_examples(rows, num_levels=None, labels=labels, seed=3) for _ in range(2)
    )
    other = DataSource.from_examples(rows, num_levels=None, seed=4)
    np.testing.assert_array_equal(one.train, two.train)
    assert not np.array_equal(one.test, other.test)
    assert len(one.test) == 5
    np.testing.assert_array_equal(np.sort(np.concatenate([one.train, one.test]), axis=0), rows)
    np.testing.assert_array_equal(one.train[:, 0], one.train_labels)
    np.testing.assert_array_equal(one.test[:, 0], one.test_labels)


@given(n=st.integers(2, 40), test_fraction=st.floats(1e-6, 1 - 1e-6))
@settings(deadline=None, max_examples=50)
def test_each_split_has_an_example(n, test_fraction):
    source = DataSource.from_examples(
        np.zeros((n, 1)), num_levels=None, test_fraction=test_fraction
    )
    assert len(source.train) >= 1
    assert len(source.test) >= 1
    assert len(source.train) + len(source.test) == n
    assert abs(len(source.test) - test_fraction * n) <= 1


def test_a_bad_example_is_named_by_its_row_before_the_split():
    with pytest.raises(ValueError, match=r"^example 17 has a NaN"):
        DataSource.from_examples(with_value(vectors(40), 17, np.nan), num_levels=None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"test_fraction": 0.0}, "test_fraction=0.0 must be between 0 and 1"),
        ({"test_fraction": 1.0}, "test_fraction=1.0 must be between 0 and 1"),
        ({"seed": -1}, "seed=-1 must be from 0 to 2\\*\\*64 - 1"),
        ({"examples": vectors(1)}, "need at least 2 examples, found 1"),
    ],
)
def test_bad_split_is_an_error_of_one_line(arguments, message):
    with pytest.raises(ValueError, match=message):
        DataSource.from_examples(**({"examples": vectors(), "num_levels": None} | arguments))


@given(n=st.integers(0, 300), seed=st.integers(0, 2**64 - 1), epoch=st.integers(0, 2**40))
@settings(deadline=None, max_examples=50)
def test_permutation_has_each_number_once(n, seed, epoch):
    np.testing.assert_array_equal(np.sort(permutation(n, seed=seed, epoch=epoch)), np.arange(n))


def test_permutation_is_the_same_under_every_numpy():
    """A run resumed under another version of NumPy must see the same batches: the
    values are written down.
    """
    assert permutation(8, seed=0).tolist() == GOLDEN[0]
    assert permutation(8, seed=1, epoch=2).tolist() == GOLDEN[1]


GOLDEN = ([0, 2, 1, 5, 4, 3, 6, 7], [4, 2, 0, 6, 1, 5, 7, 3])
