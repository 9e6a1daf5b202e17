"""A lock, so that one run at a time writes in a folder."""

import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from score_sde.runtime.bounded_reading import read_json
from score_sde.runtime.object_lock import ObjectLock, held_object
from score_sde.runtime.working_copy import LOCK, guard, store_of


class HeldError(OSError):
    """Another run is writing in the folder."""


class NoLocksError(OSError):
    """The file system has no locks."""


_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What file systems without locks answer; network file systems may be mounted so."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Lock a folder for this process while the block runs. The system releases the lock when
    the process dies.

    The lock is on the file ``run.lock``; ``run.lock.json`` names its holder, for the
    message of the next process. The lock of a folder in object storage is an object of
    that name, see `score_sde.runtime.object_lock`.

    Raises:
        HeldError: Where another process holds the lock.
        NoLocksError: Where the file system has no locks.
        OSError: Where nothing can be written in the folder.
    """
    stored = store_of(folder)
    if stored is not None:
        store, key = stored
        with held_object(store, f"{key}/{LOCK}") as found:
            if not isinstance(found, ObjectLock):
                raise _held(folder, _name_of(found))
            guard(folder, found.check)
            try:
                yield
            finally:
                guard(folder, None)
        return
    from filelock import FileLock, Timeout

    lock = FileLock(folder / "run.lock", blocking=False, fallback_to_soft=False)
    holder = folder / "run.lock.json"
    try:
        lock.acquire()
    except Timeout as error:
        raise _held(folder, _who(holder)) from error
    except (OSError, NotImplementedError) as error:
        if getattr(error, "errno", errno.ENOSYS) not in _NO_LOCKS:
            raise
        raise NoLocksError(
            f"{lock.lock_file} cannot be locked, as its file system has no locks ({error}): choose "
            "a folder on another disk, or, where no other run writes in this one, do without by "
            "--lock=False"
        ) from error
    try:
        holder.write_text(
            json.dumps({"process": os.getpid(), "host": socket.gethostname()}), encoding="utf-8"
        )
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _held(folder: Path, who: str) -> HeldError:
    return HeldError(
        f"{folder} is being written by {who}: wait for it, stop it, or choose another folder"
    )


def _who(holder: Path) -> str:
    try:
        return _name_of(read_json(holder))
    except (OSError, ValueError):
        return "another process"


def _name_of(found: Any) -> str:
    try:
        return f"process {found['process']} on {found['host']}"
    except (KeyError, TypeError):
        return "another process"
