"""A lock in object storage, so that one run at a time writes in a folder.

The lock is an object that is created only where there is none, and that its holder writes
again every few seconds. Where it does not change for longer, its holder is dead, and the
lock is taken over. No clocks of two machines are compared.
"""

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from score_sde.runtime.bounded_reading import parsed_json
from score_sde.runtime.object_store import ObjectStore, Url

BEAT = 15.0
"""The seconds between two writings of a held lock."""

PATIENCE = 4.0
"""The number of beats without a change after which a holder is dead."""


class LostError(OSError):
    """Another process has taken the lock over, since this one was silent for too long."""


class ObjectLock:
    """The lock of one object; `held_object` acquires it.

    Args:
        store: the storage.
        key: the key of the object.
    """

    def __init__(self, store: ObjectStore, key: str) -> None:
        self._store, self._key, self._token = store, key, secrets.token_hex(8)
        self._beats, self._done = 0, threading.Event()
        self._thread = threading.Thread(target=self._beat, name="object lock", daemon=True)

    def acquire(self) -> Any:
        """Take the lock, and return None; where another process holds it, what it says of
        itself.
        """
        if self._created():
            return None
        before = self._seen()
        if not _is_dead_here(before):
            waited = time.monotonic()
            while time.monotonic() - waited < PATIENCE * BEAT:
                time.sleep(min(1.0, BEAT / 4))
                now = self._seen()
                if now is None:
                    break
                if now != before:
                    return now
        self._store.remove([self._key])
        return None if self._created() else self._seen() or {}

    def check(self) -> None:
        """Raise ``LostError`` where another process has taken the lock over."""
        found = self._seen()
        if not isinstance(found, dict) or found.get("token") != self._token:
            url = Url(self._store.scheme, self._key)
            raise LostError(f"another process has taken over {url}: nothing more is written")

    def release(self) -> None:
        """Remove the lock, if it is still this process's."""
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()
        with suppress(OSError):  # a lock that cannot be removed is taken over later
            self.check()
            self._store.remove([self._key])

    def _created(self) -> bool:
        try:
            self._store.write(self._key, self._text(), new=True)
        except FileExistsError:
            return False
        self._thread.start()
        return True

    def _beat(self) -> None:
        while not self._done.wait(BEAT):
            with suppress(OSError):  # `check` tells, before anything is written
                self.check()
                self._beats += 1
                self._store.write(self._key, self._text())

    def _text(self) -> bytes:
        facts = {"process": os.getpid(), "host": socket.gethostname(), "machine": _machine()}
        return json.dumps({**facts, "token": self._token, "beats": self._beats}).encode()

    def _seen(self) -> Any:
        """What the lock says; None where there is none."""
        try:
            return parsed_json(self._store.read(self._key))
        except FileNotFoundError:
            return None
        except ValueError:
            return {}


@contextmanager
def held_object(store: ObjectStore, key: str) -> Iterator[ObjectLock | Any]:
    """Hold a lock while the block runs: its value is the lock, or what its other holder
    says of itself.
    """
    lock = ObjectLock(store, key)
    holder = lock.acquire()
    if holder is not None:
        yield holder
        return
    try:
        yield lock
    finally:
        lock.release()


def _machine() -> str:
    """What tells this start of this machine, or this container, from others; else empty."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _is_dead_here(found: Any) -> bool:
    """Whether the holder is a process of this machine that has ended."""
    if not isinstance(found, dict) or not found.get("machine") or found["machine"] != _machine():
        return False
    process = found.get("process")
    if not isinstance(process, int) or process <= 0:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
