"""A run that is asked to stop finishes its step first."""

import signal
import threading
from types import FrameType
from typing import Any

_NAMES = ("SIGINT", "SIGTERM", "SIGUSR1")
_WATCHED = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))


class StopRequest:
    """Remembers the first SIGINT (Ctrl-C), SIGTERM or SIGUSR1 instead of dying of it; a context manager.

    A second signal acts as it would have before, so that nobody is kept waiting. Outside the main thread, where Python
    allows no handlers, it watches nothing.

    Attributes:
        signum: The signal that came; ``None`` while there was none.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._before = {signum: signal.signal(signum, self._handle) for signum in _WATCHED}
        return self

    def __exit__(self, *error: object) -> None:
        self._let_go()

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum
        self._let_go()

    def _let_go(self) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before = {}
