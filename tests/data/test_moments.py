"""The moments of training data in one pass, and data that cannot be standardised."""

import numpy as np
import pytest

from score_sde.data import LazyExamples, standardization, statistics
from score_sde.data.source import DataSource

RNG = np.random.default_rng(0)
TABLE = np.stack(
    [
        RNG.normal(50000, 12000, 1000),
        RNG.normal(0.001, 1e-4, 1000),
        RNG.integers(0, 5, 1000),
        RNG.normal(1e5, 1, 1000),
    ],
    axis=1,
).astype(np.float32)
IMAGES = (RNG.normal(size=(40, 3, 5, 2)) * [2.0, 1e-3] + [10.0, -1.0]).astype(np.float32)


def in_files(array):
    return LazyExamples(shape=array.shape, dtype=array.dtype, read=lambda row: array[row])


def moments(array):
    values = array.astype(np.float64).reshape(-1, array.shape[-1])
    return values.mean(axis=0), values.std(axis=0), values.min(axis=0), values.max(axis=0)


@pytest.mark.parametrize("array", [TABLE, IMAGES], ids=["columns", "channels"])
@pytest.mark.parametrize("block", [2**21, 70], ids=["one block", "many blocks"])
def test_moments_are_computed_in_float64(array, block, monkeypatch):
    monkeypatch.setattr("score_sde.data.moments._VALUES", block)
    for found, wanted in zip(statistics(array), moments(array), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_data_in_files_have_the_same_bits():
    for array in (TABLE, IMAGES):
        for found, wanted in zip(statistics(in_files(array)), statistics(array), strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_a_part_of_the_data_is_evenly_spaced():
    line = np.arange(1000, dtype=np.float32)[:, None]
    found = statistics(line, max_examples=10)
    assert (found.mean, found.low, found.high) == (450.0, 0.0, 900.0)


def test_no_more_than_a_block_is_read_at_a_time(monkeypatch):
    monkeypatch.setattr("score_sde.data.moments._VALUES", 40)
    sizes = []

    class Counting:
        shape, dtype = TABLE.shape, TABLE.dtype

        def __len__(self):
            return len(TABLE)

        def __getitem__(self, rows):
            sizes.append(len(rows))
            return TABLE[rows]

    statistics(Counting())
    assert max(sizes) == 10 and sum(sizes) == len(TABLE)


def test_standardised_data_have_mean_0_and_variance_1():
    found = standardization(TABLE)
    for values in found.values():
        np.testing.assert_array_equal(values, np.float32(values))  # which are used in float32
    z = (TABLE - np.float32(found["mean"])) / np.float32(found["std"])
    np.testing.assert_allclose(z.mean(axis=0, dtype=np.float64), 0.0, atol=5e-3)
    np.testing.assert_allclose(z.std(axis=0, dtype=np.float64), 1.0, rtol=1e-5)


WRONG = {
    "constant": (
        np.full(50, 0.1),
        "column 1 of the training data is constant in float32 (0.1): remove or rescale it",
    ),
    "offset": (
        RNG.normal(1e9, 200, 50),
        "column 1 of the training data has mean 1e+09 and standard deviation",
    ),
    "swallowed": (
        RNG.normal(1e9, 1, 50),
        "column 1 of the training data is constant in float32 (1e+09)",
    ),
    "tiny": (
        RNG.normal(0, 1e-39, 50),
        "too small for float32, whose values there are 1.17549e-38 apart",
    ),
    "huge": (RNG.normal(0, 1e38, 50), "too large for float32: rescale it"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_channels_that_float32_cannot_resolve_are_errors_of_one_line(fault):
    column, message = WRONG[fault]
    with pytest.raises(ValueError) as caught:
        standardization(np.stack([TABLE[:50, 0], column], axis=1).astype(np.float32))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_constant_channel_is_named():
    with pytest.raises(ValueError, match="channel 1 of the training data is constant"):
        standardization(np.where(np.arange(2) == 1, np.float32(3), IMAGES))


def test_a_value_that_is_not_finite_is_named():
    broken = TABLE.copy()
    broken[7, 1] = np.nan
    source = DataSource(train=in_files(broken), test=TABLE, num_levels=None)
    with pytest.raises(ValueError, match="example 7 has a NaN or infinite value"):
        standardization(source.train)
