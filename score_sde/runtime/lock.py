"""One run at a time in a folder."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from score_sde.runtime.bounded_reading import read_json


class HeldError(OSError):
    """A folder in which another run is writing."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep a folder for this process while the block runs; the system lets go of it
    when the process dies.

    The file ``run.lock`` is locked, and ``run.lock.json`` says by whom, for whoever
    comes second.

    Raises:
        HeldError: Where another process holds it.
        OSError: Where nothing can be written there.
    """
    from filelock import FileLock, Timeout

    lock, holder = (
        FileLock(folder / "run.lock", blocking=False, fallback_to_soft=False),
        folder / "run.lock.json",
    )
    try:
        lock.acquire()
    except Timeout as error:
        raise HeldError(
            f"{folder} is being written by {_who(holder)}: wait for it, stop it, or choose another "
            "folder"
        ) from error
    try:
        holder.write_text(
            json.dumps({"process": os.getpid(), "host": socket.gethostname()}), encoding="utf-8"
        )
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _who(holder: Path) -> str:
    try:
        found = read_json(holder)
        return f"process {found['process']} on {found['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
