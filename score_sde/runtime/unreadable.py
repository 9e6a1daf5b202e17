"""Telling what cannot be read at the moment from what is damaged.

A file that another user owns, a disk that does not answer or a machine without memory
says nothing about the bytes of a checkpoint. Only bytes that were read and are wrong
are damage, and only damage is ever moved out of the way.
"""

import errno
import json
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import jax

from score_sde.runtime.resources import check_devices, lack_of_memory

UNREADABLE = 74
"""The exit code of a command that could not read a file and has changed nothing (EX_IOERR)."""

TRANSIENT = (
    errno.EIO,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.EAGAIN,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
)
"""Errors of disks and machines, for which no wrong path or flag is to blame."""

_OF_BYTES = (errno.EINVAL, errno.EOVERFLOW, errno.EFBIG)
"""Errors of offsets and sizes that a reader has taken from the file: its bytes may be damaged."""

_OF_CONTENT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, *_OF_BYTES)
"""Errors that say what a folder or file holds; all others say that it could not be read."""

_STATUS = re.compile(
    "(ABORTED|CANCELLED|DEADLINE_EXCEEDED|INTERNAL|PERMISSION_DENIED|RESOURCE_EXHAUSTED|UNAUTHENTICATED|UNAVAILABLE"
    "|UNKNOWN)(:|$)"
)
"""How tensorstore begins the message of an error that is not about the bytes."""

_OS_ERROR = re.compile(r"\[os_error_code='(\d+)'\]")
"""How tensorstore gives the number of an error of the system."""

_INTERNALS = re.compile(r"<(bound method|class|function|[\w.]+ object)")


class UnreadableError(OSError):
    """Something that cannot be read at the moment, and may be sound; nothing was changed."""


def unreadable(what: str, path: Path, reason: str) -> UnreadableError:
    """The error of a thing at a path that cannot be read for a reason."""
    return UnreadableError(
        f"cannot read {what} {path}: {reason}; nothing is moved or removed, run again once it can "
        "be read"
    )


@contextmanager
def opening(what: str, path: Path) -> Iterator[None]:
    """Raise errors of a block that opens or reads ``what`` as one line that names it,
    unless it is missing.

    Raises:
        FileNotFoundError, NotADirectoryError, IsADirectoryError: as the block does.
        UnreadableError: for any other ``OSError`` of the block.
    """
    try:
        yield
    except OSError as error:
        if isinstance(
            error, (UnreadableError, FileNotFoundError, NotADirectoryError, IsADirectoryError)
        ):
            raise
        raise unreadable(what, path, reason_of(error)) from error


def is_of_system(error: BaseException) -> bool:
    """Whether an error comes from the system, as for a file of another user or for lack
    of memory, not from the bytes.

    Decoders raise ``OSError`` for damaged bytes too, but without a number, or with that
    of a wrong argument.
    """
    if isinstance(error, OSError):
        return error.errno is not None and error.errno not in _OF_BYTES
    return isinstance(error, MemoryError)


def system_error(error: BaseException, files: Iterable[Path] = ()) -> BaseException | None:
    """The error of the system that kept a library from reading; None where what it read
    may be wrong.

    Some libraries raise the same error for a file that they may not open and for one
    that is damaged.

    Args:
        error: what the library raised; what led to it counts as well.
        files: those that it reads; each is opened, and its first byte read.
    """
    found = next((other for other in _chain(error, None) if is_of_system(other)), None)
    if found is not None:
        return found
    for file in files:
        try:
            with file.open("rb") as stream:
                stream.read(1)
        except OSError as obstacle:
            return obstacle
    return None


@contextmanager
def telling_damage(what: str, path: Path, damage: Callable[[str], Exception]) -> Iterator[None]:
    """Classify the errors of a block that reads a file or folder.

    It is damage only where nothing kept the reader from the bytes: neither the error,
    nor those that led to it, are of the system, of memory or of devices, and every byte
    at ``path`` can be read afterwards.

    Args:
        what: what lies there, as ``"the checkpoint"``.
        path: the file or folder.
        damage: from a reason in a few words to the error that is raised of damage.

    Raises:
        UnreadableError: where the bytes could not be had.
        NoDeviceError: where jax cannot start its platform.
    """
    outer = sys.exc_info()[
        1
    ]  # what the caller handles just now is the context of every error in the block
    try:
        yield
    except UnreadableError:
        raise
    except Exception as error:
        check_devices()
        reason = hindrance(error, outer) or _hindrance_at(path)
        if reason is not None:
            raise unreadable(what, path, reason) from error
        raise damage(reason_of(error)) from error


def hindrance(error: BaseException, outer: BaseException | None = None) -> str | None:
    """What kept a reader from the bytes, in a few words; None where the bytes may be wrong.

    Args:
        error: what the reader raised; what led to it counts as well.
        outer: an error that was being handled before, and does not count.
    """
    return next((reason for found in _chain(error, outer) if (reason := _hindrance(found))), None)


def check_readable(path: Path) -> None:
    """Read every byte of a file, or of all files in a folder.

    Raises:
        OSError: of the first that cannot be read.
    """
    if not path.is_dir():
        _read_through(path)
        return
    for folder, _, names in os.walk(path, onerror=raise_error):
        for name in names:
            _read_through(Path(folder) / name)


def raise_error(error: OSError) -> None:
    """Raise an error: for ``os.walk``, which skips folders that it cannot list unless
    it is given a function.
    """
    raise error


def set_aside(path: Path) -> Path:
    """Rename a damaged file to ``NAME.damaged``, or ``NAME.damaged-1`` where that is
    taken, and so on.
    """
    names = (f"{path.name}.damaged{f'-{n}' if n else ''}" for n in count())
    place = next(place for name in names if not os.path.lexists(place := path.with_name(name)))
    path.rename(place)
    return place


def message_of(error: BaseException) -> str:
    """``TypeError: its message``, of which the first line, 300 characters at most: it
    may quote a whole file.
    """
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}"


def reason_of(error: BaseException) -> str:
    """The cause of an error in a few words: tensorstore puts that last, after the names
    of many files.
    """
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    first = (str(error).splitlines() or [""])[0]
    cause = error.__cause__ or error.__context__
    if _INTERNALS.search(first) and cause is not None:
        return reason_of(cause)
    if isinstance(error, KeyError):
        return f"it lacks {first}"
    if isinstance(error, (json.JSONDecodeError, UnicodeDecodeError)) or "Invalid JSON" in first:
        return "it is no JSON"
    message = re.split(r" \[(?:os_error|tensorstore_spec|source loc)|\. See full|: <", first)[0]
    before, _, last = message.rpartition(": ")
    if before and not re.search(
        "[A-Za-z]{2,} [A-Za-z]", last
    ):  # numbers alone, such as those of a checksum
        last = f"{before.rpartition(': ')[2]}: {last}"
    return (last or type(error).__name__)[:200]


def _chain(error: BaseException, outer: BaseException | None) -> Iterator[BaseException]:
    """An error and all that led to it."""
    seen, waiting = {id(outer)}, [error]
    while waiting:
        found = waiting.pop(0)
        if id(found) not in seen:
            seen.add(id(found))
            yield found
            before = (found.__cause__, found.__context__, *getattr(found, "exceptions", ()))
            waiting += [other for other in before if other is not None]


def _hindrance(error: BaseException) -> str | None:
    lack = lack_of_memory(error)
    if lack is not None:
        return lack
    if isinstance(error, OSError):
        of_system = (
            isinstance(error, (UnreadableError, TimeoutError, ConnectionError))
            or error.errno is not None
        )
        return reason_of(error) if of_system and error.errno not in _OF_CONTENT else None
    text = str(error)
    no_thread = isinstance(error, RuntimeError) and "start new thread" in text
    if no_thread or isinstance(error, (jax.errors.JaxRuntimeError, ImportError)):
        return reason_of(error)
    number = _OS_ERROR.search(text)
    if number is not None:
        return _with_file(error, text) if int(number[1]) not in _OF_CONTENT else None
    return _with_file(error, text) if _STATUS.match(text) else None


def _with_file(error: BaseException, text: str) -> str:
    """The reason that tensorstore gives, and the file that it names last."""
    files = re.findall(r'"(/[^"]+)"', text.partition(" [tensorstore_spec")[0])
    return f"{reason_of(error)}: {files[-1]}" if files else reason_of(error)


def _hindrance_at(path: Path) -> str | None:
    """What keeps from reading the bytes at a path."""
    try:
        check_readable(path)
    except OSError as error:
        if error.errno not in _OF_CONTENT:
            return reason_of(error)
        return None if os.path.lexists(path) else "it was removed meanwhile"
    return None


def _read_through(path: Path) -> None:
    if not stat.S_ISREG(path.stat().st_mode):
        return  # a pipe would wait for ever
    with path.open("rb", buffering=0) as file:
        try:
            while file.read(1 << 20):
                pass
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
