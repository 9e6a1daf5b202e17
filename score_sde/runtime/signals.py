"""Signals that ask a run to stop, which it does after its current step."""

import signal
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any

_NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")
STOPPING = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
"""The signals that ask a run to stop, of which Windows lacks the last two."""


def heeded(signals: Sequence[int]) -> list[int]:
    """The signals without a SIGHUP that the process ignores, as under ``nohup``."""
    hangup = getattr(signal, "SIGHUP", None)
    return [one for one in signals if one != hangup or signal.getsignal(one) != signal.SIG_IGN]


class StopRequest:
    """Records the first SIGINT (Ctrl-C), SIGTERM, SIGUSR1 or SIGHUP (the terminal is
    closed), which then does not end the process; a context manager.

    A second Ctrl-C has its usual effect, so that nobody has to wait. Any other second
    signal does nothing: launchers repeat the signals of the scheduler, and send SIGKILL
    to processes that do not end. A SIGHUP that the process ignores, as under ``nohup``,
    stays ignored. Outside the main thread, where Python allows no
    handlers, no signal is watched.

    Args:
        signals: the signals to watch.

    Attributes:
        signum: The first signal; ``None`` before.
    """

    def __init__(self, signals: Sequence[int] = STOPPING) -> None:
        self._watched = signals
        self.signum: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._before = {
                signum: signal.signal(signum, self._handle) for signum in heeded(self._watched)
            }
        return self

    def __exit__(self, *error: object) -> None:
        for signum in list(self._before):
            self._restore(signum)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is None:
            self.signum = signum
        if signum == signal.SIGINT:
            self._restore(signum)

    def _restore(self, signum: int) -> None:
        signal.signal(signum, self._before.pop(signum))
