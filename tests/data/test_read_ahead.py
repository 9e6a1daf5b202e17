"""Reading ahead gives the batches of the loader in memory, bit for bit, from any step on."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from score_sde.data import DataSource, Loader, folder
from score_sde.data.examples import LazyExamples
from score_sde.data.read_ahead import ReadAheadLoader, make_loader

ARRAY = np.random.default_rng(0).integers(256, size=(50, 3, 2, 1)).astype(np.uint8)
LABELS = np.arange(50, dtype=np.int32)


def lazy(array=ARRAY, read=None):
    return LazyExamples(shape=array.shape, dtype=array.dtype, read=read or array.__getitem__)


@pytest.fixture
def opened():
    """Make loaders that are closed when the test is over."""
    loaders = []

    def open_one(examples, **options):
        loaders.append(make_loader(examples, **options))
        return loaders[-1]

    yield open_one
    for loader in loaders:
        loader.close()


def assert_same(found, expected):
    for name in ("x", "index", "condition"):
        one, other = getattr(found, name), getattr(expected, name)
        assert (one is None) == (other is None)
        if one is not None:
            assert type(one) is np.ndarray and one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("steps", [range(6), [3, 4, 5], [5, 0, 1, 7, 7, 2], [10**6, 10**6 + 1]])
def test_batches_equal_the_batches_of_the_loader_in_memory(opened, steps):
    options = {"batch_size": 16, "seed": 3, "conditions": LABELS}
    ahead, expected = opened(lazy(), **options), Loader(array=ARRAY, **options)
    assert isinstance(ahead, ReadAheadLoader) and ahead.batch_size == 16
    for step in steps:
        assert_same(ahead.batch(step), expected.batch(step))


@pytest.mark.parametrize("num_processes", [1, 2, 4])
def test_the_parts_of_all_processes_are_the_batch(opened, num_processes):
    size = 16 // num_processes
    parts = [slice(start, start + size) for start in range(0, 16, size)]
    loaders = [
        opened(lazy(), batch_size=16, seed=1, conditions=LABELS, num_threads=2) for _ in parts
    ]
    expected = Loader(array=ARRAY, batch_size=16, seed=1, conditions=LABELS)
    for step in (0, 1, 2, 3, 9):
        found = [loader.batch(step, part) for loader, part in zip(loaders, parts, strict=True)]
        assert_same(
            type(found[0])(*map(np.concatenate, zip(*found, strict=True))), expected.batch(step)
        )


@given(
    num_examples=st.integers(1, 20),
    batch_size=st.integers(1, 30),
    seed=st.integers(0, 2**64 - 1),
    asked=st.lists(st.tuples(st.integers(0, 9), st.slices(30)), min_size=1, max_size=6),
)
@settings(max_examples=20)
def test_any_steps_and_parts_in_any_order(num_examples, batch_size, seed, asked):
    array = np.arange(num_examples, dtype=np.float32)[:, None]
    ahead = make_loader(lazy(array), batch_size=batch_size, seed=seed, num_threads=3)
    expected = Loader(array=array, batch_size=batch_size, seed=seed)
    try:
        for step, part in asked:
            assert_same(ahead.batch(step, part), expected.batch(step, part))
    finally:
        ahead.close()


def test_an_array_needs_no_reading_ahead(tmp_path, opened):
    assert isinstance(opened(ARRAY, batch_size=4), Loader)
    np.save(tmp_path / "a.npy", ARRAY)
    mapped = opened(np.load(tmp_path / "a.npy", mmap_mode="r"), batch_size=4)
    assert isinstance(mapped, ReadAheadLoader)
    assert_same(mapped.batch(2), Loader(array=ARRAY, batch_size=4).batch(2))


def test_a_batch_is_a_copy(opened):
    ahead = opened(lazy(), batch_size=50)
    ahead.batch(0).x[:] = 0
    assert ARRAY.any()
    assert_same(ahead.batch(0), Loader(array=ARRAY, batch_size=50).batch(0))


def test_one_step_after_the_other_reads_each_example_once(opened):
    """The threads go on where they are, at least two batches ahead of what was asked for."""
    read = []
    ahead = opened(
        lazy(read=lambda row: read.append(row) or ARRAY[row]), batch_size=10, num_threads=1
    )
    for step in range(4):
        ahead.batch(step)
    wait_until(lambda: len(read) == 60)
    expected = Loader(array=ARRAY, batch_size=10)
    np.testing.assert_array_equal(read, np.concatenate([expected.rows(step) for step in range(6)]))


def test_a_damaged_image_is_named_and_the_batches_before_it_come(tmp_path, opened):
    for row in range(12):
        Image.fromarray(ARRAY[row, ..., 0]).resize((16, 16)).save(tmp_path / f"{row:02}.png")
    source = folder(tmp_path, in_memory=False)
    path = tmp_path / "05.png"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    options = {"batch_size": 2, "seed": 2}
    ahead, expected = opened(source.train, **options), Loader(array=source.train, **options)
    for _ in range(2):  # it says so whenever it is asked
        step = 0
        with pytest.raises(
            ValueError, match=rf"^example 5, {path} cannot be read as an image"
        ) as caught:
            while True:
                ahead.batch(step)
                step += 1
        assert "\n" not in str(caught.value)
    assert step > 0
    path.write_bytes(whole)
    assert_same(ahead.batch(step), expected.batch(step))


def test_a_wrong_value_is_named(opened):
    array = np.where(np.arange(50)[:, None] == 7, np.nan, np.ones((50, 2)))
    source = DataSource(train=lazy(array), test=lazy(array), num_levels=None)
    with pytest.raises(ValueError, match="example 7 has a NaN"):
        opened(source.train, batch_size=50).batch(0)


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_threads_end_on_close():
    before = set(threading.enumerate())
    ahead = make_loader(
        lazy(read=lambda row: time.sleep(0.01) or ARRAY[row]), batch_size=16, num_threads=4
    )
    ahead.batch(0)
    assert set(threading.enumerate()) - before
    ahead.close()
    wait_until(lambda: not set(threading.enumerate()) - before)
    ahead.close()
    assert_same(
        ahead.batch(1), Loader(array=ARRAY, batch_size=16).batch(1)
    )  # and it can be asked again
    ahead.close()


SENT = """
import sys
import cloudpickle
import numpy as np
from score_sde.data import load_source

for name in sys.argv[1:]:
    examples = load_source(name, in_memory=False).train
    assert np.array_equal(cloudpickle.loads(cloudpickle.dumps(examples))[:], examples[:])
    print(name)
"""


@pytest.mark.slow
def test_examples_in_files_can_be_sent_to_worker_processes(tmp_path):
    """In a process of its own, for functions whose types are checked cannot be pickled."""
    (tmp_path / "images").mkdir()
    for row in range(4):
        Image.fromarray(ARRAY[row, ..., 0]).save(tmp_path / "images" / f"{row}.png")
    np.save(tmp_path / "a.npy", ARRAY)
    names = [f"folder:{tmp_path}/images", f"npy:{tmp_path}/a.npy"]
    found = subprocess.run(
        [sys.executable, "-c", SENT, *names], capture_output=True, text=True, check=False
    )
    assert found.stdout.splitlines() == names, found.stderr


@pytest.mark.slow
def test_worker_processes_give_the_same_batches(opened):
    ahead = opened(lazy(), batch_size=16, seed=3, num_workers=2, num_threads=1)
    expected = Loader(array=ARRAY, batch_size=16, seed=3)
    for step in (0, 1, 2, 3, 8):
        assert_same(ahead.batch(step), expected.batch(step))


def broken(row):
    raise ValueError(f"example {row} of a file is damaged")


@pytest.mark.slow
def test_an_example_that_a_worker_process_cannot_read_is_named(opened):
    with pytest.raises(ValueError, match=r"^example \d+ of a file is damaged"):
        opened(lazy(read=broken), batch_size=16, num_workers=1, num_threads=1).batch(0)


KILLED = """
import os
import numpy as np
from score_sde.data.examples import LazyExamples
from score_sde.data.read_ahead import make_loader

if __name__ == "__main__":
    array = np.zeros((8, 2))
    examples = LazyExamples(shape=array.shape, dtype=array.dtype, read=array.__getitem__)
    make_loader(examples, batch_size=4, num_workers=2).batch(0)
    os.kill(os.getpid(), 9)
"""


@pytest.mark.slow
def test_worker_processes_end_when_the_one_that_trains_is_killed(tmp_path):
    """They hold its standard output open until they end."""
    (tmp_path / "killed.py").write_text(KILLED)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "killed.py")], capture_output=True, timeout=300, check=False
    )
    assert done.returncode == -9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_threads": 0}, "num_threads=0 must be at least 1"),
        ({"num_workers": -1}, "num_workers=-1 must be at least 0"),
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"conditions": LABELS[:4]}, "a condition for each of 50 examples, got 4"),
    ],
)
def test_bad_arguments_are_errors_of_one_line(options, message):
    with pytest.raises(ValueError, match=message):
        make_loader(lazy(), **({"batch_size": 4} | options))
    with pytest.raises(ValueError, match="step=-1 must be at least 0"):
        make_loader(lazy(), batch_size=4).batch(-1)
