"""The feed reads a bounded number of batches ahead, in order, and ends its thread."""

import threading
import time

import jax
import numpy as np
import pytest

from score_sde.data.loader import Loader
from score_sde.training.feed import Feed, LoaderError
from score_sde.training.mesh import device_mesh

LOADER = Loader(array=np.arange(64, dtype=np.float32).reshape(32, 2), batch_size=8, seed=3)


class Counting:
    """A loader that remembers what it was asked for, and may fail or hang."""

    batch_size = 8

    def __init__(self, before=lambda step: None):
        self.asked, self._before = [], before

    def close(self):
        pass

    def batch(self, step, part=slice(None)):
        self._before(step)
        self.asked.append(step)
        return LOADER.batch(step, part)


def feed_threads():
    return [thread for thread in threading.enumerate() if thread.name == "feed"]


def test_batches_come_in_order_from_the_position_on():
    with Feed(LOADER, device_mesh(), 5, [1, 3, 2]) as feed:
        found = list(feed)
    assert [(fed.size, fed.position) for fed in found] == [(1, 6), (3, 9), (2, 11)]
    numbers = iter(range(5, 11))
    for fed in found:
        assert fed.batches.x.shape == (fed.size, 8, 2)
        assert {shard.data.shape for shard in fed.batches.x.addressable_shards} == {
            (fed.size, 1, 2)
        }
        for row in range(fed.size):
            expected = LOADER.batch(next(numbers))
            np.testing.assert_array_equal(fed.batches.x[row], expected.x)
            np.testing.assert_array_equal(fed.batches.index[row], expected.index)


def test_only_so_many_dispatches_are_read_ahead():
    loader = Counting()
    with Feed(loader, device_mesh(), 0, [1] * 100, ahead=2) as feed:
        next(feed)
        time.sleep(0.3)
        assert 1 <= len(loader.asked) <= 4
    assert not feed_threads()


def test_closing_ends_the_thread():
    with Feed(LOADER, device_mesh(), 0, [1] * 50) as feed:
        next(feed)
    assert not feed_threads()


def test_an_error_of_the_loader_is_raised_where_its_batch_is_asked_for():
    def fail(step):
        if step == 2:
            raise ValueError("photos/3.png\n is not an image")

    with Feed(Counting(fail), device_mesh(), 0, [1] * 9) as feed:
        next(feed), next(feed)
        for _ in range(2):
            with pytest.raises(
                LoaderError, match=r"^batch 2 cannot be read: photos/3.png is not an image$"
            ):
                next(feed)


def test_errors_of_other_types_are_raised_unchanged():
    def fail(step):
        raise KeyError(step)

    with Feed(Counting(fail), device_mesh(), 0, [1]) as feed, pytest.raises(KeyError):
        next(feed)


def test_the_time_spent_waiting_is_counted():
    def slow(step):
        time.sleep(0.2 if step == 1 else 0.0)

    with Feed(Counting(slow), device_mesh(), 0, [1] * 3) as feed:
        next(feed)
        before = feed.waited
        next(feed)
        assert 0.1 < feed.waited - before < 10.0


def test_a_loader_that_hangs_does_not_keep_the_feed_from_closing():
    released = threading.Event()

    def hang(step):
        if step == 1:
            released.wait(30)

    start = time.monotonic()
    with Feed(Counting(hang), device_mesh(), 0, [1] * 3) as feed:
        next(feed)
    assert time.monotonic() - start < 10.0
    released.set()
    while feed_threads():
        time.sleep(0.05)


def test_no_batch_is_read_that_no_step_takes():
    loader = Counting()
    with Feed(loader, device_mesh(jax.devices()[:1]), 4, [2, 1]) as feed:
        assert len(list(feed)) == 2
        with pytest.raises(StopIteration):
            next(feed)
    assert loader.asked == [4, 5, 6]
