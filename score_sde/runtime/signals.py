"""A run that is asked to stop finishes its step first."""

import signal
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any

_NAMES = ("SIGINT", "SIGTERM", "SIGUSR1")
_WATCHED = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))


class StopRequest:
    """Remembers the first SIGINT (Ctrl-C), SIGTERM or SIGUSR1 instead of dying of it; a
    context manager.

    A second Ctrl-C acts as it would have before, so that nobody is kept waiting. A
    second SIGTERM or SIGUSR1 does nothing: launchers repeat what the scheduler has sent
    already, and have SIGKILL for those that do not end. Outside the main thread, where
    Python allows no handlers, it watches nothing.

    Args:
        signals: which signals are watched.

    Attributes:
        signum: The signal that came first; ``None`` while there was none.
    """

    def __init__(self, signals: Sequence[int] = _WATCHED) -> None:
        self._watched = signals
        self.signum: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._before = {signum: signal.signal(signum, self._handle) for signum in self._watched}
        return self

    def __exit__(self, *error: object) -> None:
        for signum in list(self._before):
            self._let_go(signum)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is None:
            self.signum = signum
        if signum == signal.SIGINT:
            self._let_go(signum)

    def _let_go(self, signum: int) -> None:
        signal.signal(signum, self._before.pop(signum))
