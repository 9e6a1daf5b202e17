"""Writers that never stop a training: what they raise is told, and tried again; what is
slow happens in a thread.
"""

import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, final

import numpy as np

from score_sde.training.tracking.metrics import MetricWriter
from score_sde.typing import Array, ScalarLike

Tell = Callable[[str], None]
"""Shows one line."""

_QUIET = 600.0
"""Seconds in which a writer that fails now and then is told of once."""


def to_stderr(text: str) -> None:
    """Show a line on standard error as it is now: a progress bar puts itself there, and
    the line above the bar.
    """
    print(text, file=sys.stderr, flush=True)  # noqa: T201


@final
class GuardedWriter(MetricWriter):
    """Passes everything on to a writer, and goes on where that raises any ``Exception``.

    The failure is told in one line. Numbers that were not written are kept, up to
    ``keep`` calls, and written when the writer works again; pictures are lost. A
    rewinding that failed comes before anything else is written.

    Args:
        name: What the writer is called in that line.
        make: Opens the writer; that may fail too.
        retry_every: Seconds from a failure to the next try; 0 to try at every call.
        keep: How many calls of ``write_scalars`` are kept.
        tell: Shows a line.
        clock: The time in seconds.
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
        """Write numbers, now or as soon as the writer works."""
        if len(self._waiting) >= self._keep:
            self._waiting.popleft()
            self._lost += 1
        self._waiting.append((step, plain_numbers(scalars)))
        self._attempt(_nothing)

    def write_images(self, step: int, images: Mapping[str, Array | np.ndarray]) -> None:
        """Write pictures, if the writer works."""
        if not self._attempt(lambda writer: writer.write_images(step, images)):
            self._lost += 1

    def flush(self) -> None:
        """Flush the writer, if it works."""
        self._attempt(lambda writer: writer.flush())

    def close(self) -> None:
        """Try for the last time what is waiting, close the writer, and tell what is lost."""
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
        """Whether the action was done, and before it all that is waiting."""
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
            self.tell(f"{self.name}: it can be written again")
        self._failing, self._told = False, False
        return True

    def _note_failure(self, error: Exception) -> None:
        now = self._clock()
        if not self._failing and now >= self._next_telling:
            when = f"every {self._retry_every:g} s" if self._retry_every else "at every write"
            self.tell(
                f"{self.name}: cannot write ({_reason(error)}); training goes on without it, "
                f"trying again {when}"
            )
            self._told, self._next_telling = True, now + _QUIET
        self._failing, self._next_try = True, now + self._retry_every


@final
class BackgroundWriter(MetricWriter):
    """Writes in a thread of its own, so that a network that does not answer holds nothing up.

    What finds ``limit`` calls waiting is dropped. Closing waits for the thread, but no
    longer than ``patience``.

    Args:
        writer: The writer; what it raises it must keep to itself.
        limit: How many calls may wait.
        patience: In seconds.
    """

    def __init__(self, writer: GuardedWriter, *, limit: int = 1000, patience: float = 60.0) -> None:
        self._writer, self._patience = writer, patience
        self._calls: queue.Queue[Callable[[], None] | None] = queue.Queue(limit)
        self._dropped = 0
        self._thread: threading.Thread | None = None

    def rewind(self, step: int) -> None:
        """Rewind the writer, in its turn."""
        self._later(lambda: self._writer.rewind(step))

    def write_scalars(self, step: int, scalars: Mapping[str, ScalarLike]) -> None:
        """Write numbers, in their turn."""
        numbers = plain_numbers(scalars)
        self._later(lambda: self._writer.write_scalars(step, numbers))

    def write_images(self, step: int, images: Mapping[str, Array | np.ndarray]) -> None:
        """Write pictures, in their turn."""
        copies = {name: np.array(image) for name, image in images.items()}
        self._later(lambda: self._writer.write_images(step, copies))

    def flush(self) -> None:
        """Flush the writer, in its turn; this does not wait for it."""
        self._later(self._writer.flush)

    def close(self) -> None:
        """Wait until all is written, and tell what is not."""
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
                f"{self._writer.name}: it does not answer, and is left after {self._patience:g} s"
            )
        if self._dropped:
            self._writer.tell(
                f"{self._writer.name}: it was too slow, {self._dropped} calls were dropped"
            )
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
    """The numbers themselves, which outlive the arrays that they come from."""
    return {name: float(np.asarray(value)) for name, value in scalars.items()}


def _nothing(writer: MetricWriter) -> None:
    pass


def _reason(error: Exception) -> str:
    words: Any = getattr(error, "strerror", None) or str(error) or type(error).__name__
    line = " ".join(str(words).split())
    return line if len(line) <= 200 else line[:199] + "…"
