"""Damaged examples in files are replaced by the next sound ones, or end the reading."""

import errno

import numpy as np
import pytest

from score_sde.data import Loader
from score_sde.data.examples import LazyExamples
from score_sde.data.read_ahead import make_loader
from score_sde.data.sound_rows import is_damage, read_sound

ARRAY = np.arange(20, dtype=np.float32)[:, None]
DAMAGED = {3, 4, 19}
SOUND = np.array([5 if row in (3, 4) else 0 if row == 19 else row for row in range(20)])
"""The row that is read in place of each."""


def read(row):
    if row in DAMAGED:
        raise ValueError(f"photos/{row}.png is cut off")
    return ARRAY[row]


PHOTOS = LazyExamples(shape=ARRAY.shape, dtype=ARRAY.dtype, read=read)


def test_the_next_sound_example_is_read():
    found = read_sound(PHOTOS, np.array([2, 3, 19, 4]))
    assert found.x[:, 0].tolist() == [2.0, 5.0, 0.0, 5.0]
    assert found.rows.tolist() == [2, 5, 0, 5]
    assert found.damaged == tuple(f"photos/{row}.png is cut off" for row in (3, 4, 19, 4))


@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("start", [0, 7])
def test_batches_their_conditions_and_the_parts_of_processes(start, num_workers):
    """They are those of an array in which the examples are replaced, from any step on."""
    lines: list[str] = []
    options = {"batch_size": 8, "seed": 2, "num_workers": num_workers}
    ahead = make_loader(PHOTOS, conditions=np.arange(20), on_damage=lines.append, **options)
    expected = Loader(array=ARRAY[SOUND], conditions=SOUND, batch_size=8, seed=2)
    for step in range(start, start + 5):
        for part in (slice(0, 3), slice(3, 8)) if num_workers == 0 else (slice(None),):
            found, wanted = ahead.batch(step, part), expected.batch(step, part)
            np.testing.assert_array_equal(found.x, wanted.x)
            np.testing.assert_array_equal(found.condition, wanted.condition)
    ahead.close()
    assert set(lines) == {f"photos/{row}.png is cut off" for row in DAMAGED}


def test_without_being_asked_a_damaged_example_is_an_error():
    loader = make_loader(PHOTOS, batch_size=20)
    with pytest.raises(ValueError, match=r"photos/\d+.png is cut off"):
        loader.batch(0)


def test_where_all_are_damaged_the_reading_ends():
    def none(row):
        raise ValueError(f"{row} is cut off")

    photos = LazyExamples(shape=ARRAY.shape, dtype=ARRAY.dtype, read=none)
    with pytest.raises(ValueError, match="20 damaged examples in a row: 1 is cut off"):
        read_sound(photos, np.array([2]))


def test_a_disk_that_fails_is_no_damage():
    def fail(row):
        raise OSError(errno.EIO, "Input/output error")

    photos = LazyExamples(shape=ARRAY.shape, dtype=ARRAY.dtype, read=fail)
    with pytest.raises(OSError, match="Input/output error"):
        read_sound(photos, np.array([2]))
    assert is_damage(OSError("x: example 3 cannot be read: the file ends before it does"))
    assert not is_damage(KeyError("x"))
