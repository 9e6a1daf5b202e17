"""Batches of examples that do not fit in memory, read ahead by the threads and
processes of grain.
"""

from dataclasses import dataclass
from typing import Any, SupportsIndex, final

import numpy as np

from score_sde.checks import at_least
from score_sde.data.examples import Examples, is_array
from score_sde.data.loader import Batch, Loader

NUM_THREADS = 16
BATCHES_AHEAD = 2
_ENDLESS = 2**62  # grain asks for a length; no run reaches it


def make_loader(
    examples: Examples,
    *,
    batch_size: int,
    seed: int = 0,
    conditions: Any = None,
    num_threads: int = NUM_THREADS,
    num_workers: int = 0,
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

    Raises:
        ValueError: as both do.
    """
    loader = Loader(array=examples, batch_size=batch_size, seed=seed, conditions=conditions)
    if is_array(examples):
        return loader
    return ReadAheadLoader(loader, num_threads=num_threads, num_workers=num_workers)


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

    Raises:
        ValueError: where ``num_threads`` or ``num_workers`` is too small.
    """

    def __init__(
        self, loader: Loader, *, num_threads: int = NUM_THREADS, num_workers: int = 0
    ) -> None:
        at_least(1, num_threads=num_threads)
        at_least(0, num_workers=num_workers)
        self._loader, self._num_threads, self._num_workers = loader, num_threads, num_workers
        self._reading: _Reading | None = None

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
        condition = self._loader.conditions_of(rows)
        if len(rows) == 0:
            return Batch(x=self.array[0:0], index=index, condition=condition)
        if self._reading is None or self._reading.place != (step, part):
            self.close()
            self._reading = self._start(step, part)
        try:
            x = next(self._reading.batches)
        except BaseException:  # an interrupt too leaves the iterator at an unknown place
            self.close()
            raise
        self._reading.place = (step + 1, part)
        return Batch(x=x, index=index, condition=condition)

    def close(self) -> None:
        """End the threads and processes; the next batch starts new ones."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.batches.close()

    def _start(self, step: int, part: slice) -> "_Reading":
        import grain

        places = np.arange(self.batch_size)[part]
        # In grain an element costs about as much time as reading an example does, so an
        # element is a chunk of several examples.
        num_chunks = 1 if self._num_workers else min(self._num_threads, len(places))
        run = _Run(loader=self._loader, step=step, chunks=tuple(np.array_split(places, num_chunks)))
        ahead = max(BATCHES_AHEAD * num_chunks, self._num_threads)
        options = grain.ReadOptions(num_threads=self._num_threads, prefetch_buffer_size=ahead)
        chunks = grain.MapDataset.source(run).to_iter_dataset(options)
        if self._num_workers:
            _count_flags_as_parsed()
            chunks = chunks.mp_prefetch(grain.MultiprocessingOptions(num_workers=self._num_workers))
        return _Reading((step, part), iter(chunks.batch(num_chunks, batch_fn=np.concatenate)))


@dataclass
class _Reading:
    """An iterator, and its place: the step and the part of its next batch."""

    place: tuple[int, slice]
    batches: Any


@dataclass(frozen=True, kw_only=True, eq=False)
class _Run:
    """The data source of grain: the batches from a step on, in chunks.

    The index of an element decides its step and its chunk, and so its examples, whichever
    thread reads it and when.
    """

    loader: Loader
    step: int
    chunks: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return _ENDLESS

    def __getitem__(self, index: SupportsIndex) -> np.ndarray:
        step, chunk = divmod(index.__index__(), len(self.chunks))
        return np.asarray(self.loader.array[self.loader.rows(self.step + step)[self.chunks[chunk]]])


def _count_flags_as_parsed() -> None:
    """Set the flags of grain to their defaults: its processes read them, and not every
    program parses flags.
    """
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
