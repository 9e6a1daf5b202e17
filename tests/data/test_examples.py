"""Examples that are read when they are asked for behave as an array of them."""

import numpy as np
import pytest

from score_sde.data.examples import Examples, LazyExamples

ARRAY = np.arange(24, dtype=np.uint8).reshape(6, 2, 2)


def lazy(read=ARRAY.__getitem__):
    return LazyExamples(shape=ARRAY.shape, dtype=ARRAY.dtype, read=read)


@pytest.mark.parametrize("rows", [np.array([4, 0, 4]), slice(1, 5, 2), slice(None), np.array([], np.int64)])
def test_rows_are_those_of_the_array(rows):
    found = lazy()[rows]
    assert found.dtype == ARRAY.dtype
    np.testing.assert_array_equal(found, ARRAY[rows])


def test_arrays_and_lazy_examples_are_examples():
    assert isinstance(ARRAY, Examples) and isinstance(lazy(), Examples)
    assert len(lazy()) == 6


def test_a_row_that_is_not_there_is_not_read():
    read = []
    with pytest.raises(IndexError):
        lazy(read.append)[np.array([6])]
    assert read == []
