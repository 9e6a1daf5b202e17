"""One process of several that fails ends the others, which would wait for it.

Without this, the others wait in a collective operation, and the failed process waits for
them in JAX's own exit handler, both for minutes. The processes tell each other by the
key-value store of JAX's coordination service.
"""

import atexit
import contextlib
import os
import sys
import threading
from typing import Any

GRACE = 2.0
"""Seconds in which a process may fail by itself, with its own message."""

INTERVAL = 1.0
"""Seconds between two looks for failures."""

_KEY = "score_sde/failed"

_joined: "list[_Failures]" = []
"""Of the processes of this run; empty where it is the only one."""


def watch_others(client: Any, process: int) -> None:
    """End this process once another has failed.

    Args:
        client: the client of JAX's coordination service.
        process: the index of this process.
    """
    _joined.append(_Failures(client, process))


def have_joined() -> bool:
    """Whether there are other processes."""
    return bool(_joined)


def tell_others(code: int) -> None:
    """End the other processes, if any, with this exit code, as this one has failed.

    It returns where all fail; else it ends this process, whose exit handlers would wait
    for the others.
    """
    for failures in _joined:
        failures.tell(code)


class _Failures:
    def __init__(self, client: Any, process: int) -> None:
        self._client, self._process = client, process
        self._over = threading.Event()
        # The first process ends last: without it, JAX aborts the others.
        self._grace = GRACE if process else 2.0 * GRACE
        self._thread = threading.Thread(target=self._watch, name="failures", daemon=True)
        self._thread.start()
        atexit.register(self._stop)  # before JAX's own handler ends the client

    def tell(self, code: int) -> None:
        self._over.set()
        with contextlib.suppress(Exception):  # where another process has failed before
            self._client.key_value_set(_KEY, f"{self._process} {code}")
        try:
            self._client.wait_at_barrier(_KEY, int(1000 * (self._grace + INTERVAL)))
        except Exception:
            _end(code)

    def _watch(self) -> None:
        while not self._over.wait(INTERVAL):
            try:
                process, code = self._client.key_value_try_get(_KEY).split()
            except Exception:  # there is no failure
                continue
            if not self._over.wait(self._grace):
                sys.stderr.write(f"score-sde: process {process} has failed: its message says why\n")
                _end(int(code))

    def _stop(self) -> None:
        self._over.set()
        self._thread.join(INTERVAL)


def _end(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
