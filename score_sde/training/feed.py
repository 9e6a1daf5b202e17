"""Batches on their way to the devices: a thread reads and copies them while earlier steps run."""

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from jax.sharding import Mesh

from score_sde.data.loader import Batch, BatchLoader
from score_sde.data.sound_rows import is_damage
from score_sde.training.mesh import local_part, shard_batches

_POLL = 0.1
"""Seconds after which the thread looks again whether the feed is closed."""


class LoaderError(OSError):
    """Data that cannot be read.

    Attributes:
        is_damage: Whether an example is damaged, rather than a disk or a network failing.
    """

    is_damage = False


class Fed(NamedTuple):
    """Batches for one dispatch, stacked, on the devices.

    Attributes:
        size: The number of batches.
        batches: Their rows, ``[size, batch_size, *shape]``.
        position: The number of batches read so far, these included.
    """

    size: int
    batches: Batch
    position: int


class Feed:
    """An iterator over the batches of a loader, and a context manager that ends its thread.

    Args:
        loader: The loader. Each of several processes reads the rows of its own devices.
        mesh: The devices.
        position: The number of the first batch.
        sizes: The number of batches of each dispatch.
        ahead: The number of dispatches that are read ahead.

    Raises:
        LoaderError: From ``next``, where the loader raised ``OSError`` or
            ``ValueError``.
    """

    def __init__(
        self,
        loader: BatchLoader,
        mesh: Mesh,
        position: int,
        sizes: Iterable[int],
        *,
        ahead: int = 2,
    ) -> None:
        self.waited = 0.0
        """Seconds spent on waiting for data."""
        self._loader, self._mesh = loader, mesh
        self._part = local_part(mesh, loader.batch_size)
        self._ready: queue.Queue[Fed | BaseException | None] = queue.Queue(maxsize=ahead)
        self._closed = threading.Event()
        self._thread = threading.Thread(
            target=self._work, args=(position, iter(sizes)), name="feed", daemon=True
        )
        self._thread.start()

    def __iter__(self) -> Iterator[Fed]:
        return self

    def __next__(self) -> Fed:
        start = time.monotonic()
        found = self._ready.get()
        self.waited += time.monotonic() - start
        if isinstance(found, Fed):
            return found
        self._ready.put(found)  # the next call gets the same answer
        if found is None:
            raise StopIteration
        raise found

    def close(self) -> None:
        """Stop reading, and drop the batches read ahead."""
        self._closed.set()
        with self._ready.mutex:
            self._ready.queue.clear()
            self._ready.not_full.notify_all()
        # Not for ever: a loader that hangs must not keep the run from ending.
        self._thread.join(timeout=1.0)

    def __enter__(self) -> "Feed":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _work(self, position: int, sizes: Iterator[int]) -> None:
        try:
            for size in sizes:
                batches = [self._read(number) for number in range(position, position + size)]
                position += size
                self._offer(Fed(size, shard_batches(self._mesh, batches), position))
                if self._closed.is_set():
                    return
            self._offer(None)
        except BaseException as error:  # `__next__` raises it
            self._offer(error)

    def _read(self, number: int) -> Batch:
        try:
            return self._loader.batch(number, self._part)
        except (OSError, ValueError) as error:
            found = LoaderError(f"batch {number} cannot be read: {' '.join(str(error).split())}")
            found.is_damage = is_damage(error)
            raise found from error

    def _offer(self, item: Any) -> None:
        while not self._closed.is_set():
            try:
                return self._ready.put(item, timeout=_POLL)
            except queue.Full:
                continue
        return None
