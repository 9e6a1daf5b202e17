"""The progress of long work: a live bar on a terminal, plain lines elsewhere."""

import os
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import IO, Any, Protocol, cast, runtime_checkable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress as RichProgress, TextColumn

from score_sde.runtime.object_store import shown
from score_sde.runtime.streams import lasting

_WINDOW = 200  # updates over which the rate is measured


@runtime_checkable
class Stream(Protocol):
    """A text stream: an open file, a terminal, or ``io.StringIO``."""

    def write(self, text: str, /) -> Any:
        """Write text."""

    def flush(self) -> Any:
        """Write everything buffered."""

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        ...


class ProgressBar:
    """Shows ``done / total``, the speed, the time left and a few numbers; a context manager.

    On a terminal it is one live line. In a log file or a pipe it writes a plain line at
    the first update, at each tenth of the work, and otherwise one in ``interval`` seconds
    at most. Where the stream cannot be written it falls silent: progress never ends the work.

    >>> import sys
    >>> with ProgressBar("train", 10, stream=sys.stdout) as bar:
    ...     bar.update(1, loss=0.5)
    train: 1/10 steps  loss 0.5

    Args:
        description: The name of the work, for example ``"train"``.
        total: The number of units of work.
        start: The number of units done before, as in a resumed run.
        unit: The name of the units, in the plural.
        stream: Where to write; standard error unless given.
        interval: Seconds between plain lines.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        description: str,
        total: int,
        *,
        start: int = 0,
        unit: str = "steps",
        stream: Stream | None = None,
        interval: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.description, self.total, self.unit, self.done = description, total, unit, start
        self._stream = lasting(sys.stderr if stream is None else stream)
        self._interval, self._clock = interval, clock
        self._fields: dict[str, float | str] = {}
        self._history: deque[tuple[float, int]] = deque(maxlen=_WINDOW)
        self._last_line, self._last_tenth = -float("inf"), self._tenth()
        self._bar: RichProgress | None = None

    @property
    def rate(self) -> float:
        """Units per second over the last updates; NaN before the second update, since the
        first includes the compilation.
        """
        if len(self._history) < 2:
            return float("nan")
        (then, before), (now, done) = self._history[0], self._history[-1]
        return (done - before) / (now - then) if now > then else float("nan")

    def update(self, done: int, **fields: float | str) -> None:
        """Set the number of units that are done.

        Args:
            done: Units done in total, including those before a resumption.
            fields: Numbers or words to show from now on, by name.
        """
        self.done = done
        self._fields.update(fields)
        self._history.append((self._clock(), done))
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, status=self._status())
        elif self._is_time_for_a_line():
            self._last_line, self._last_tenth = self._clock(), self._tenth()
            self._write(
                f"{self.description}: {done}/{self.total} {self.unit}  {self._status()}".rstrip()
            )

    def note(self, text: str) -> None:
        """Write a line, above a live bar."""
        text = shown(text)
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            self._write(text)

    def __enter__(self) -> "ProgressBar":
        if _is_terminal(self._stream):
            self._bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=16),
                MofNCompleteColumn(),
                TextColumn("{task.fields[status]}"),
                console=Console(file=cast(IO[str], self._stream)),
            )
            self._bar.add_task(self.description, total=self.total, completed=self.done, status="")
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _status(self) -> str:
        speed = []
        if self.rate > 0:
            speed = [
                f"{_short(self.rate)} {self.unit}/s",
                f"ETA {_clock_time((self.total - self.done) / self.rate)}",
            ]
        return "  ".join(
            [*speed, *(f"{name} {_short(value)}" for name, value in self._fields.items())]
        )

    def _tenth(self) -> int:
        return 10 * self.done // max(self.total, 1)

    def _is_time_for_a_line(self) -> bool:
        late = self._clock() - self._last_line >= self._interval
        return late or self._tenth() > self._last_tenth

    def _write(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


def _is_terminal(stream: Stream) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _short(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if 1e3 <= abs(value) < 1e6 else f"{value:.4g}"


def _clock_time(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
