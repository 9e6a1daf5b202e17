"""Batches of examples that do not fit in memory, read ahead by threads or processes."""

import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, final

import cloudpickle
import numpy as np

from score_sde.checks import at_least
from score_sde.data.examples import Examples, is_array
from score_sde.data.loader import Batch, Loader
from score_sde.data.sound_rows import RowsRead, joined

OnDamage = Callable[[str], None]
"""Reports a damaged example, by a line that names it."""

NUM_THREADS = 16
BATCHES_AHEAD = 2


def make_loader(
    examples: Examples,
    *,
    batch_size: int,
    seed: int = 0,
    conditions: Any = None,
    num_threads: int = NUM_THREADS,
    num_workers: int = 0,
    on_damage: OnDamage | None = None,
) -> "Loader | ReadAheadLoader":
    """A `Loader` of an array in memory, or a `ReadAheadLoader` of examples in files, with
    the same batches.

    >>> type(make_loader(np.zeros((8, 2)), batch_size=4)).__name__
    'Loader'

    Args:
        examples: the examples, ``[n, *shape]``.
        batch_size: as for `Loader`.
        seed: as for `Loader`.
        conditions: as for `Loader`.
        num_threads: as for `ReadAheadLoader`.
        num_workers: as for `ReadAheadLoader`.
        on_damage: called with a line about each damaged example in a file, which is
            then replaced by the next sound one; without it, such an example is an error.

    Raises:
        ValueError: as both do.
    """
    loader = Loader(
        array=examples,
        batch_size=batch_size,
        seed=seed,
        conditions=conditions,
        skip_damaged=on_damage is not None,
    )
    if is_array(examples):
        return loader
    return ReadAheadLoader(
        loader, num_threads=num_threads, num_workers=num_workers, on_damage=on_damage
    )


@final
class ReadAheadLoader:
    """The batches of a ``Loader``, bit for bit, whose examples are read in advance.

    The step, the part and the order of the ``Loader`` alone decide the examples that are
    read and their order. ``num_threads`` threads share each batch, ``BATCHES_AHEAD``
    batches ahead. Where Python code rather than decoders and disks takes the time,
    ``num_workers`` processes take turns by whole batches, each with ``num_threads``
    threads; the examples are sent to them pickled.

    While `batch` is called with consecutive steps and the same part, reading continues;
    any other step or part restarts it there. Use the loader from one thread at a time, and close
    it.

    Args:
        loader: the order and the examples.
        num_threads: threads that read, at least 1.
        num_workers: processes that read; 0 reads in threads of this process.
        on_damage: called, by `batch`, with a line about each damaged example that the
            ``Loader`` has replaced.

    Raises:
        ValueError: where ``num_threads`` or ``num_workers`` is too small.
    """

    def __init__(
        self,
        loader: Loader,
        *,
        num_threads: int = NUM_THREADS,
        num_workers: int = 0,
        on_damage: OnDamage | None = None,
    ) -> None:
        at_least(1, num_threads=num_threads)
        at_least(0, num_workers=num_workers)
        self._loader, self._num_threads, self._num_workers = loader, num_threads, num_workers
        self._reading: _Reading | None = None
        self._on_damage = on_damage

    @property
    def array(self) -> Examples:
        """The examples."""
        return self._loader.array

    @property
    def batch_size(self) -> int:
        """The rows of a batch."""
        return self._loader.batch_size

    def batch(self, step: int, part: slice = slice(None)) -> Batch:
        """The batch of a step, counted from 0; with ``part``, the rows of one process.

        Raises:
            ValueError: where ``step`` is negative, or an example is damaged (the message
                names it).
            OSError: where a file cannot be read.
        """
        rows = self._loader.rows(step)[part]
        index = np.arange(self.batch_size, dtype=np.int32)[part]
        if len(rows) == 0:
            nothing = self._loader.conditions_of(rows)
            return Batch(x=self.array[0:0], index=index, condition=nothing)
        if self._reading is None or self._reading.place != (step, part):
            self.close()
            self._reading = self._start(step, part)
        try:
            found = next(self._reading.batches)
        except BaseException:  # an interrupt too leaves the iterator at an unknown place
            self.close()
            raise
        self._reading.place = (step + 1, part)
        if self._on_damage is not None:
            for line in found.damaged:
                self._on_damage(line)
        return Batch(x=found.x, index=index, condition=self._loader.conditions_of(found.rows))

    def close(self) -> None:
        """End the threads and processes; the next batch starts new ones."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.batches.close()

    def _start(self, step: int, part: slice) -> "_Reading":
        places = np.arange(self.batch_size)[part]
        num_threads = min(self._num_threads, len(places))
        shares = tuple(np.array_split(places, num_threads))
        run = _Run(loader=self._loader, step=step, shares=shares)
        if self._num_workers:
            ahead = max(BATCHES_AHEAD, self._num_workers)
            pool = _process_pool(run, self._num_workers)
            return _Reading((step, part), _batches(pool, _read_in_worker, 1, ahead))
        ahead = max(BATCHES_AHEAD * num_threads, self._num_threads)
        pool = ThreadPoolExecutor(self._num_threads, thread_name_prefix="read-ahead")
        return _Reading((step, part), _batches(pool, run.share, num_threads, ahead))


@dataclass
class _Reading:
    """An iterator, and its place: the step and the part of its next batch."""

    place: tuple[int, slice]
    batches: Generator[RowsRead]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Run:
    """The batches from a step on, each divided into shares that are read at the same time.

    The index of a share decides its step and its examples, whichever thread reads it and
    when.
    """

    loader: Loader
    step: int
    shares: tuple[np.ndarray, ...]

    def share(self, index: int) -> RowsRead:
        """The examples of a share: of the first batch, then of the second, and so on."""
        step, share = divmod(index, len(self.shares))
        return self.loader.read(self.loader.rows(self.step + step)[self.shares[share]])


def _batches(
    pool: Executor, read: Callable[[int], RowsRead], num_shares: int, ahead: int
) -> Generator[RowsRead]:
    """The batches, each of ``num_shares`` results of ``read(0), read(1), …``; the pool is
    ``ahead`` results further. Closing the generator ends the pool.
    """
    try:
        waiting = deque(pool.submit(read, index) for index in range(ahead))
        for first in itertools.count(ahead, num_shares):
            found = [waiting.popleft().result() for _ in range(num_shares)]
            waiting.extend(pool.submit(read, first + i) for i in range(num_shares))
            yield joined(found)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _process_pool(run: _Run, num_workers: int) -> ProcessPoolExecutor:
    """Processes for `_read_in_worker`, each with the examples and threads of its own."""
    return ProcessPoolExecutor(
        num_workers,
        mp_context=multiprocessing.get_context("spawn"),  # jax does not survive a fork
        initializer=_start_worker,
        initargs=(cloudpickle.dumps(run),),  # functions that read examples may be closures
    )


def _start_worker(pickled: bytes) -> None:
    """Prepare a worker process."""
    global _run, _threads
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that trains
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _run = cloudpickle.loads(pickled)
    _threads = ThreadPoolExecutor(len(_run.shares))


def _end_with_parent() -> None:
    """End a worker when the process that trains is killed: its queues would wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _read_in_worker(index: int) -> RowsRead:
    """A whole batch, in a worker process."""
    num_shares = len(_run.shares)
    shares = range(index * num_shares, (index + 1) * num_shares)
    return joined(list(_threads.map(_run.share, shares)))


_run: _Run
_threads: ThreadPoolExecutor
"""The run and the threads of a worker process."""
