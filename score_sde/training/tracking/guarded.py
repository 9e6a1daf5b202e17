"""Writers that never stop a training: errors are reported and writes tried again; slow
writers have a thread of their own.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, final

import numpy as np

from score_sde.runtime.streams import tell
from score_sde.training.tracking.metrics import MetricWriter
from score_sde.typing import Array, ScalarLike

Tell = Callable[[str], None]
"""Shows one line."""

_QUIET = 600.0
"""A writer that fails now and then is reported once in so many seconds."""


def to_stderr(text: str) -> None:
    """Show a line on standard error, looked up at each call: a live progress bar replaces
    ``sys.stderr``, and then shows the line above the bar.
    """
    tell(text)


@final
class GuardedWriter(MetricWriter):
    """Passes every call on to a writer, and continues where it raises any ``Exception``.

    A failure is reported in one line. Scalars that could not be written are kept, up to
    ``keep`` calls, and written once the writer works again; images are lost. A ``rewind``
    that failed is repeated before anything else is written.

    Args:
        name: The name of the writer in reports.
        make: Opens the writer, and may fail too.
        retry_every: Seconds from a failure to the next try; 0 to try at every call.
        keep: The number of calls of ``write_scalars`` that are kept.
        tell: Shows a line.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], MetricWriter],
        *,
        retry_every: float = 0.0,
        keep: int = 10_000,
        tell: Tell = to_stderr,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.tell = name, tell
        self._make, self._retry_every, self._keep, self._clock = make, retry_every, keep, clock
        self._writer: MetricWriter | None = None
        self._rewind_to: int | None = None
        self._waiting: deque[tuple[int, dict[str, float]]] = deque()
        self._lost = 0
        self._failing, self._told = False, False
        self._next_try, self._next_telling = -float("inf"), -float("inf")

    def rewind(self, step: int) -> None:
        """Rewind the writer, now or as soon as it works."""
        self._rewind_to = step if self._rewind_to is None else min(step, self._rewind_to)
        self._waiting = deque(call for call in self._waiting if call[0] <= step)
        self._attempt(_nothing)

    def write_scalars(self, step: int, scalars: Mapping[str, ScalarLike]) -> None:
        """Write scalars, now or as soon as the writer works."""
        if len(self._waiting) >= self._keep:
            self._waiting.popleft()
            self._lost += 1
        self._waiting.append((step, plain_numbers(scalars)))
        self._attempt(_nothing)

    def write_images(self, step: int, images: Mapping[str, Array | np.ndarray]) -> None:
        """Write images, if the writer works."""
        if not self._attempt(lambda writer: writer.write_images(step, images)):
            self._lost += 1

    def flush(self) -> None:
        """Flush the writer, if it works."""
        self._attempt(lambda writer: writer.flush())

    def close(self) -> None:
        """Try a last time to write all that is kept, close the writer, and report losses."""
        self._next_try = -float("inf")
        if self._writer is not None or self._waiting:
            self._attempt(lambda writer: writer.close())
        self._lost += len(self._waiting)
        self._waiting.clear()
        if self._lost:
            self.tell(
                f"{self.name}: {self._lost} {'writes are' if self._lost > 1 else 'write is'} lost"
            )
            self._lost = 0

    def _attempt(self, action: Callable[[MetricWriter], None]) -> bool:
        """Do all that is kept, then the action; return whether that succeeded."""
        if self._failing and self._clock() < self._next_try:
            return False
        try:
            if self._writer is None:
                self._writer = self._make()
            if self._rewind_to is not None:
                self._writer.rewind(self._rewind_to)
                self._rewind_to = None
            while self._waiting:
                self._writer.write_scalars(*self._waiting[0])
                self._waiting.popleft()
            action(self._writer)
        except Exception as error:  # whatever a disk, a network or a library may raise
            self._note_failure(error)
            return False
        if self._told:
            self.tell(f"{self.name}: works again")
        self._failing, self._told = False, False
        return True

    def _note_failure(self, error: Exception) -> None:
        now = self._clock()
        if not self._failing and now >= self._next_telling:
            when = f"every {self._retry_every:g} s" if self._retry_every else "at every write"
            self.tell(
                f"{self.name}: cannot write ({_reason(error)}); training continues without it, "
                f"trying again {when}"
            )
            self._told, self._next_telling = True, now + _QUIET
        self._failing, self._next_try = True, now + self._retry_every


@final
class BackgroundWriter(MetricWriter):
    """Writes in a thread of its own, so that a slow network does not slow down a training.

    Args:
        writer: The writer, which must not raise.
        limit: The number of calls that may wait; further calls are dropped.
        patience: Seconds that ``close`` waits for the thread at most.
    """

    def __init__(self, writer: GuardedWriter, *, limit: int = 1000, patience: float = 60.0) -> None:
        self._writer, self._patience = writer, patience
        self._calls: queue.Queue[Callable[[], None] | None] = queue.Queue(limit)
        self._dropped = 0
        self._thread: threading.Thread | None = None

    def rewind(self, step: int) -> None:
        """Rewind the writer, after all earlier calls."""
        self._later(lambda: self._writer.rewind(step))

    def write_scalars(self, step: int, scalars: Mapping[str, ScalarLike]) -> None:
        """Write scalars, after all earlier calls."""
        numbers = plain_numbers(scalars)
        self._later(lambda: self._writer.write_scalars(step, numbers))

    def write_images(self, step: int, images: Mapping[str, Array | np.ndarray]) -> None:
        """Write images, after all earlier calls."""
        copies = {name: np.array(image) for name, image in images.items()}
        self._later(lambda: self._writer.write_images(step, copies))

    def flush(self) -> None:
        """Flush the writer, after all earlier calls, without waiting for it."""
        self._later(self._writer.flush)

    def close(self) -> None:
        """Wait until everything is written, and report losses."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        end = time.monotonic() + self._patience
        for last in (self._writer.close, None):
            try:
                self._calls.put(last, timeout=max(0.0, end - time.monotonic()))
            except queue.Full:
                break
        thread.join(max(0.0, end - time.monotonic()))
        if thread.is_alive():
            self._writer.tell(
                f"{self._writer.name}: no answer, given up after {self._patience:g} s"
            )
        if self._dropped:
            self._writer.tell(f"{self._writer.name}: too slow, {self._dropped} calls were dropped")
            self._dropped = 0

    def _later(self, call: Callable[[], None]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._writer.name, daemon=True)
            self._thread.start()
        try:
            self._calls.put_nowait(call)
        except queue.Full:
            self._dropped += 1

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()


def plain_numbers(scalars: Mapping[str, ScalarLike]) -> dict[str, float]:
    """Scalars as floats, which stay valid when the next step overwrites their arrays."""
    return {name: float(np.asarray(value)) for name, value in scalars.items()}


def _nothing(writer: MetricWriter) -> None:
    pass


def _reason(error: Exception) -> str:
    words: Any = getattr(error, "strerror", None) or str(error) or type(error).__name__
    line = " ".join(str(words).split())
    return line if len(line) <= 200 else line[:199] + "…"
