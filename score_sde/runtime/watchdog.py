"""A run that makes no progress says where it hangs, and ends, rather than holding its
machines for ever.
"""

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

STOPPED = 75
"""The exit code of a run that can be run again (EX_TEMPFAIL)."""


def _end() -> None:
    os._exit(STOPPED)  # the main thread hangs, so no exception would reach it


class Watchdog:
    """Ends the process when nothing has happened for too long; a context manager.

    The stacks of all threads are then written to a file, one line says so, and the
    process ends with exit code 75: run again, it goes on from its last checkpoint.

    Args:
        timeout: Seconds without a `beat`; 0 to watch nothing.
        dump: The file for the stacks; standard error unless given.
        note: Told in a line.
        end: What ends the process.
    """

    def __init__(
        self,
        timeout: float,
        *,
        dump: Path | None = None,
        note: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),  # noqa: T201
        end: Callable[[], None] = _end,
    ) -> None:
        self.timeout = timeout
        self._dump, self._note, self._end = dump, note, end
        self._doing, self._since = "starting", time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def beat(self, doing: str) -> None:
        """Say that there is progress, and what comes next, as in ``"waiting for the
        data of step 7"``.
        """
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
        except (OSError, ValueError):
            place = "nowhere, as they cannot be written"
        self._note(
            f"no progress for {silent:.0f} s while {self._doing}: the stacks of all threads are "
            f"{place}"
        )
