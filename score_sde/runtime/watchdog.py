"""Ends a run that makes no progress, and reports where it hangs."""

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from score_sde.runtime.streams import tell

STOPPED = 75
"""The exit code of a run that can be resumed (EX_TEMPFAIL)."""


def _end() -> None:
    os._exit(STOPPED)  # an exception would not reach the main thread, which hangs


class Watchdog:
    """Ends the process after too long a time without progress; a context manager.

    It writes the stack traces of all threads to a file, shows one line, and ends the
    process with exit code 75. Started again, a run resumes from its last checkpoint.

    Args:
        timeout: Seconds without a `beat`; 0 to watch nothing.
        dump: The file for the stack traces; standard error unless given.
        note: Shows a line.
        end: Ends the process.
    """

    def __init__(
        self,
        timeout: float,
        *,
        dump: Path | None = None,
        note: Callable[[str], None] = tell,
        end: Callable[[], None] = _end,
    ) -> None:
        self.timeout = timeout
        self._dump, self._note, self._end = dump, note, end
        self._doing, self._since = "starting", time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def beat(self, doing: str) -> None:
        """Report progress, and the activity that follows: ``"waiting for the data of step 7"``."""
        self._doing, self._since = doing, time.monotonic()

    def __enter__(self) -> "Watchdog":
        self._since = time.monotonic()
        if self.timeout > 0:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()

    def _watch(self) -> None:
        while not self._done.wait(min(1.0, self.timeout / 4)):
            silent = time.monotonic() - self._since
            if silent > self.timeout:
                self._report(silent)
                self._end()
                return

    def _report(self, silent: float) -> None:
        place = "on standard error"
        try:
            if self._dump is None:
                faulthandler.dump_traceback(file=sys.stderr)
            else:
                with self._dump.open("w", encoding="utf-8") as file:
                    faulthandler.dump_traceback(file=file)
                place = f"in {self._dump}"
        except (OSError, ValueError, AttributeError):  # a closed stream has no number
            place = "nowhere, as they cannot be written"
        self._note(
            f"no progress for {silent:.0f} s while {self._doing}: the stacks of all threads are "
            f"{place}"
        )
