"""Examples in files are checked when they are read, with the messages of the checks of
arrays.
"""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from score_sde.data import DataSource
from score_sde.data.checking import checked_labels
from score_sde.data.examples import LazyExamples

IMAGES = np.random.default_rng(0).integers(17, size=(9, 2, 3, 1)).astype(np.uint8)
VECTORS = np.random.default_rng(1).normal(size=(9, 2))


def lazy(array, **options):
    return LazyExamples(shape=array.shape, dtype=array.dtype, read=array.__getitem__, **options)


@pytest.mark.parametrize(
    ("array", "num_levels"), [(IMAGES, 17), (IMAGES.astype(np.int64), 400), (VECTORS, None)]
)
def test_lazy_examples_are_stored_as_arrays_are(array, num_levels):
    expected = DataSource(train=array, test=array[:2], num_levels=num_levels)
    found = DataSource(train=lazy(array), test=lazy(array[:2]), num_levels=num_levels)
    assert isinstance(found.train, LazyExamples) and found.shape == expected.shape
    for split in ("train", "test"):
        assert getattr(found, split).dtype == getattr(expected, split).dtype
        assert getattr(found, split)[:].dtype == getattr(expected, split).dtype
        np.testing.assert_array_equal(getattr(found, split)[:], getattr(expected, split))


@given(n=st.integers(2, 40), test_fraction=st.floats(0.01, 0.99), seed=st.integers(0, 9))
def test_lazy_examples_are_split_as_an_array(n, test_fraction, seed):
    array, labels = np.arange(2 * n, dtype=np.float32).reshape(n, 2), np.arange(n)
    options = {"num_levels": None, "labels": labels, "test_fraction": test_fraction, "seed": seed}
    expected, found = (
        DataSource.from_examples(examples, **options) for examples in (array, lazy(array))
    )
    for split in ("train", "test"):
        np.testing.assert_array_equal(getattr(found, split)[:], getattr(expected, split))
        np.testing.assert_array_equal(
            getattr(found, f"{split}_labels"), getattr(expected, f"{split}_labels")
        )


def test_nothing_is_read_for_a_source():
    def read(row):
        raise AssertionError(row)

    examples = LazyExamples(shape=(10, 2, 2, 1), dtype=np.dtype(np.uint8), read=read)
    source = DataSource.from_examples(examples, num_levels=256)
    assert source.shape == (2, 2, 1) and len(source.train) == 9


def with_value(array, row, value):
    array = array.copy()
    array[row, -1] = value
    return array


@pytest.mark.parametrize(
    ("array", "num_levels", "message"),
    [
        (with_value(VECTORS, 4, np.nan), None, "^example 4 has a NaN or infinite value"),
        (with_value(VECTORS, 4, 1e300), None, "^example 4 has a NaN or .* finite in float32"),
        (
            with_value(IMAGES, 4, 17),
            17,
            r"^example 4 has levels \d+ to 17; they must lie in 0 to 16",
        ),
        (with_value(IMAGES.astype(int), 4, -1), 17, r"^example 4 has levels -1 to \d+"),
    ],
)
def test_a_wrong_value_is_named_by_its_row_when_it_is_read(array, num_levels, message):
    source = DataSource(train=lazy(array), test=lazy(array[:2]), num_levels=num_levels)
    assert len(source.train[:4]) == 4
    with pytest.raises(ValueError, match=message) as caught:
        source.train[np.array([0, 4])]
    assert "\n" not in str(caught.value)
    split = DataSource.from_examples(
        lazy(array, name="file {}".format), num_levels=num_levels, seed=1
    )
    with pytest.raises(ValueError, match=r"^file 4 has"):
        np.concatenate([split.train[:], split.test[:]])


@pytest.mark.parametrize(
    ("array", "num_levels", "message"),
    [
        (IMAGES, None, "train examples are uint8: continuous data are floats"),
        (VECTORS, 17, "train examples are float64; with num_levels=17 they must be integers"),
        (IMAGES[:0], 17, "the train split has no examples"),
        (IMAGES[:, :0], 17, r"train examples of shape \(0, 3, 1\) have no values"),
    ],
)
def test_type_and_shape_are_checked_at_once(array, num_levels, message):
    with pytest.raises(ValueError, match=message):
        DataSource(train=lazy(array), test=lazy(array), num_levels=num_levels)


def test_an_example_of_another_shape_or_type_is_never_stretched_or_cast():
    for wrong in (IMAGES[0, :1], IMAGES[0].astype(np.int64)):
        examples = LazyExamples(
            shape=IMAGES.shape, dtype=IMAGES.dtype, read=lambda row, wrong=wrong: wrong
        )
        source = DataSource(train=examples, test=examples, num_levels=17)
        with pytest.raises(
            ValueError, match=r"^example 3 is u?int\d+ of shape \(., 3, 1\), not uint8 of shape"
        ):
            source.train[3]


def test_memory_maps_are_checked_when_they_are_read(tmp_path):
    np.save(tmp_path / "a.npy", with_value(VECTORS, 2, np.inf))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    source = DataSource(train=mapped, test=mapped[:2], num_levels=None)
    np.testing.assert_array_equal(source.train[:2], VECTORS[:2].astype(np.float32))
    with pytest.raises(ValueError, match=r"a\.npy: example 2 has a NaN"):
        source.train[2]


@pytest.mark.parametrize("label", [2**32, 2**31, -(2**31) - 1])
def test_labels_do_not_wrap_to_others(label):
    labels = np.array([0, label])
    with pytest.raises(ValueError, match=r"^test_labels are from .*: labels must be below 2\*\*31"):
        checked_labels(labels, 2, "test")
