"""The loader: each epoch has each example once, and any step can come first."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from score_sde.data import Batch, Loader

sizes = st.integers(1, 30)


def loader(num_examples, batch_size, seed=0):
    return Loader(array=np.arange(num_examples, dtype=np.int32), batch_size=batch_size, seed=seed)


@given(
    num_examples=sizes,
    batch_size=st.integers(1, 70),
    seed=st.integers(0, 2**64 - 1),
    epochs=st.integers(1, 3),
)
@settings(deadline=None, max_examples=50)
def test_each_epoch_sees_each_example_once(num_examples, batch_size, seed, epochs):
    num_steps = -(-epochs * num_examples // batch_size)
    seen = np.concatenate(
        [loader(num_examples, batch_size, seed).batch(step).x for step in range(num_steps)]
    )
    for epoch in seen[: epochs * num_examples].reshape(epochs, num_examples):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(num_examples))


@given(num_examples=sizes, batch_size=st.integers(1, 70), steps=st.permutations(range(8)))
@settings(deadline=None, max_examples=50)
def test_any_step_can_be_asked_first(num_examples, batch_size, steps):
    in_order = [loader(num_examples, batch_size).batch(step).x for step in range(8)]
    for step in steps:
        np.testing.assert_array_equal(
            loader(num_examples, batch_size).batch(step).x, in_order[step]
        )


@given(num_examples=sizes, one=st.integers(1, 20), other=st.integers(1, 20), seed=st.integers(0, 9))
@settings(deadline=None, max_examples=50)
def test_the_order_does_not_depend_on_the_batch_size(num_examples, one, other, seed):
    runs = [
        [loader(num_examples, size, seed).batch(step).x for step in range(5)]
        for size in (one, other)
    ]
    first, second = (np.concatenate(run) for run in runs)
    shared = min(len(first), len(second))
    np.testing.assert_array_equal(first[:shared], second[:shared])


def test_steps_far_into_a_run_are_exact():
    """No counter overflows: step 2**50 of 7 examples in batches of 800."""
    rows = loader(7, 800).rows(2**50)
    start = 2**50 * 800 % 7
    aligned = rows[7 - start : 7 - start + 7 * 100].reshape(100, 7)
    np.testing.assert_array_equal(np.sort(aligned, axis=1), np.tile(np.arange(7), (100, 1)))


def test_epochs_and_seeds_are_shuffled_apart():
    one = loader(100, 100)
    assert not np.array_equal(one.batch(0).x, one.batch(1).x)
    assert not np.array_equal(one.batch(0).x, loader(100, 100, seed=1).batch(0).x)
    assert not np.array_equal(one.batch(0).x, np.arange(100))


def test_a_batch_is_a_copy_of_rows_and_their_positions():
    array = np.random.default_rng(0).integers(17, size=(20, 8, 8, 1)).astype(np.uint8)
    images = Loader(array=array, batch_size=6, seed=5)
    batch = images.batch(2)
    assert batch.x.dtype == np.uint8
    assert batch.index.dtype == np.int32
    np.testing.assert_array_equal(batch.index, np.arange(6))
    np.testing.assert_array_equal(batch.x, array[images.rows(2)])
    batch.x[:] = 0
    assert array.any(axis=(1, 2, 3)).all()
    assert np.array_equal(images.batch(2).x, array[images.rows(2)])


def test_a_batch_passes_through_jit():
    batch = jax.jit(lambda batch: Batch(x=batch.x + 1, index=batch.index))(loader(10, 4).batch(0))
    np.testing.assert_array_equal(batch.x, loader(10, 4).batch(0).x + 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: loader(0, 4), "a loader needs at least one example, found none"),
        (lambda: loader(5, 0), "batch_size=0 must be at least 1"),
        (lambda: loader(5, 2, seed=-3), "seed=-3 must be from 0 to"),
        (lambda: loader(5, 2).batch(-1), "step=-1 must be at least 0"),
    ],
)
def test_bad_arguments_are_errors_of_one_line(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_labels_go_with_their_examples():
    array = np.arange(7, dtype=np.float32)[:, None]
    labelled = Loader(array=array, batch_size=3, conditions=np.arange(7, dtype=np.int32))
    for step in range(5):
        batch = labelled.batch(step)
        np.testing.assert_array_equal(batch.x[:, 0], batch.condition)
    assert Loader(array=array, batch_size=3).batch(0).condition is None
    with pytest.raises(ValueError, match="a condition for each of 7 examples, got 6"):
        Loader(array=array, batch_size=3, conditions=np.arange(6))


def test_the_parts_of_a_batch_are_the_batch():
    labels = np.arange(10, dtype=np.int32)
    whole = Loader(array=np.arange(10, dtype=np.int32), batch_size=6, conditions=labels)
    parts = [whole.batch(3, slice(start, start + 2)) for start in (0, 2, 4)]
    for name in ("x", "index", "condition"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(joined, getattr(whole.batch(3), name))
