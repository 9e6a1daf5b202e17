"""Examples that are read on access behave as an array of them."""

import numpy as np
import pytest

from score_sde.data import examples
from score_sde.data.examples import (
    Examples,
    LazyExamples,
    example,
    first,
    in_memory_or_lazy,
    is_lazy,
    name_of,
    selected,
)

ARRAY = np.arange(24, dtype=np.uint8).reshape(6, 2, 2)


def lazy(read=ARRAY.__getitem__):
    return LazyExamples(shape=ARRAY.shape, dtype=ARRAY.dtype, read=read)


@pytest.mark.parametrize(
    "rows", [np.array([4, 0, 4]), slice(1, 5, 2), slice(None), np.array([], np.int64)]
)
def test_rows_equal_the_rows_of_the_array(rows):
    found = lazy()[rows]
    assert found.dtype == ARRAY.dtype
    np.testing.assert_array_equal(found, ARRAY[rows])


def test_arrays_and_lazy_examples_are_examples():
    assert isinstance(ARRAY, Examples) and isinstance(lazy(), Examples)
    assert len(lazy()) == 6


def test_a_missing_row_is_an_index_error():
    read = []
    with pytest.raises(IndexError):
        lazy(read.append)[np.array([6])]
    assert read == []


def test_one_number_is_one_example():
    np.testing.assert_array_equal(lazy()[-1], ARRAY[5])
    np.testing.assert_array_equal(example(lazy(), 2), ARRAY[2])
    np.testing.assert_array_equal(example(ARRAY, 2), ARRAY[2])


def test_lazy_examples_convert_to_an_array():
    np.testing.assert_array_equal(np.asarray(lazy()), ARRAY)
    assert np.asarray(lazy(), np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="only by copying"):
        np.array(lazy(), copy=False)


def test_a_selection_reads_nothing_yet_and_keeps_the_names():
    read = []
    named = LazyExamples(
        shape=ARRAY.shape, dtype=ARRAY.dtype, read=lambda row: read.append(row) or ARRAY[row]
    )
    view = selected(selected(named, np.array([5, 3, 1])), np.array([2, 0]))
    assert read == [] and len(view) == 2
    np.testing.assert_array_equal(view[:], ARRAY[[1, 5]])
    assert read == [1, 5]
    assert name_of(view, 0) == "example 1"
    np.testing.assert_array_equal(selected(ARRAY, np.array([4, 2])), ARRAY[[4, 2]])


def test_the_first_examples_are_a_view():
    assert np.shares_memory(first(ARRAY, 2), ARRAY)
    np.testing.assert_array_equal(first(lazy(), 2)[:], ARRAY[:2])
    for count in (None, 6, 100):
        assert len(first(lazy(), count)) == 6


def test_a_memory_map_stays_in_its_file_and_is_named_by_it(tmp_path):
    np.save(tmp_path / "a.npy", ARRAY)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    view = selected(mapped, np.array([3]))
    assert isinstance(view, LazyExamples)
    assert name_of(view, 0) == f"{tmp_path}/a.npy: example 3"
    np.testing.assert_array_equal(view[:], ARRAY[[3]])


def test_large_examples_stay_in_their_files_by_default(monkeypatch):
    assert isinstance(in_memory_or_lazy(lazy(), None), np.ndarray)
    assert isinstance(in_memory_or_lazy(lazy(), False), LazyExamples)
    assert is_lazy(None, (2**21, 16, 16, 3), np.dtype(np.uint8))
    monkeypatch.setattr(examples, "LAZY_ABOVE", 23)
    assert isinstance(in_memory_or_lazy(lazy(), None), LazyExamples)
    assert isinstance(in_memory_or_lazy(lazy(), True), np.ndarray)
