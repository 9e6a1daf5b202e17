"""Distinguishes files that cannot be read at the moment from damaged files.

A file of another user, a disk that does not answer or a lack of memory says nothing about
the bytes of a file. Only bytes that were read and are wrong are damage, and only damaged
files are ever moved.
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

from score_sde.runtime.resources import check_devices, lack_of_memory

UNREADABLE = 74
"""The exit code of a command that could not read a file, and changed nothing (EX_IOERR)."""

TRANSIENT = (
    errno.EIO,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.EAGAIN,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
)
"""Errors of disks and machines, not caused by a wrong path or flag."""

_OF_BYTES = (errno.EINVAL, errno.EOVERFLOW, errno.EFBIG)
"""Errors of offsets and sizes, which a reader may have taken from damaged bytes."""

_OF_CONTENT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, *_OF_BYTES)
"""Errors about the content of a folder or file; all others mean that it could not be read."""

_STATUS = re.compile(
    "(ABORTED|CANCELLED|DEADLINE_EXCEEDED|INTERNAL|PERMISSION_DENIED|RESOURCE_EXHAUSTED|UNAUTHENTICATED|UNAVAILABLE"
    "|UNKNOWN)(:|$)"
)
"""The beginning of a message of tensorstore that is not about the bytes."""

_OS_ERROR = re.compile(r"\[os_error_code='(\d+)'\]")
"""The number of an error of the system in a message of tensorstore."""

_INTERNALS = re.compile(r"<(bound method|class|function|[\w.]+ object)")


class UnreadableError(OSError):
    """A file or folder cannot be read at the moment, and may be sound; nothing was changed."""


def unreadable(what: str, path: Path, reason: str) -> UnreadableError:
    """The error of a file or folder, such as ``"the checkpoint"``, that cannot be read."""
    return UnreadableError(
        f"cannot read {what} {path}: {reason}; nothing is moved or removed, run again once it can "
        "be read"
    )


@contextmanager
def opening(what: str, path: Path) -> Iterator[None]:
    """Turn an ``OSError`` of a block that reads ``what`` into an ``UnreadableError``, unless it
    means that the file is missing.

    Raises:
        FileNotFoundError, NotADirectoryError, IsADirectoryError: where the block does.
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
    """Whether an error comes from the system, such as a denied permission or a lack of
    memory, and not from the bytes.

    Decoders raise ``OSError`` for damaged bytes too, but without a number, or with the
    number of a wrong argument.
    """
    if isinstance(error, OSError):
        return error.errno is not None and error.errno not in _OF_BYTES
    return isinstance(error, MemoryError)


def system_error(error: BaseException, files: Iterable[Path] = ()) -> BaseException | None:
    """The error of the system that kept a library from reading files; None where the files
    may be damaged.

    Some libraries raise the same error for a damaged file and for one that they cannot
    open.

    Args:
        error: the error of the library; its causes are examined too.
        files: the files that the library reads. The first byte of each is read.
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
    """Turn every error of a block that reads a file or folder into one of damage, or into an
    ``UnreadableError``.

    It is damage only where neither the error nor one of its causes is about the system,
    memory or devices, and every byte at ``path`` can be read afterwards.

    Args:
        what: the kind of file or folder, such as ``"the checkpoint"``.
        path: the file or folder.
        damage: makes the error of a damaged file from a reason in a few words.

    Raises:
        UnreadableError: where bytes could not be read.
        NoDeviceError: where JAX cannot start its platform.
    """
    # An error that the caller is handling is the context of every error of the block.
    outer = sys.exc_info()[1]
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
    """The reason why bytes could not be read, in a few words; None where they may be damaged.

    Args:
        error: the error of the reader; its causes are examined too.
        outer: an error that was being handled before, which is not examined.
    """
    return next((reason for found in _chain(error, outer) if (reason := _hindrance(found))), None)


def check_readable(path: Path) -> None:
    """Read every byte of a file, or of all files in a folder.

    Raises:
        OSError: where one cannot be read.
    """
    if not path.is_dir():
        _read_through(path)
        return
    for folder, _, names in os.walk(path, onerror=raise_error):
        for name in names:
            _read_through(Path(folder) / name)


def raise_error(error: OSError) -> None:
    """Raise an error: for ``os.walk``, which otherwise skips folders that it cannot list."""
    raise error


def set_aside(path: Path) -> Path:
    """Rename a damaged file to ``NAME.damaged``, or to ``NAME.damaged-1`` where that exists."""
    names = (f"{path.name}.damaged{f'-{n}' if n else ''}" for n in count())
    place = next(place for name in names if not os.path.lexists(place := path.with_name(name)))
    path.rename(place)
    return place


def message_of(error: BaseException) -> str:
    """``TypeError: message``, with 300 characters of the first line at most: the message may
    quote a whole file.
    """
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}"


def reason_of(error: BaseException) -> str:
    """The reason for an error in a few words. Tensorstore puts it last, after the names of
    many files.
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
    # Numbers alone, such as those of a checksum, need the words before them.
    if before and not re.search("[A-Za-z]{2,} [A-Za-z]", last):
        last = f"{before.rpartition(': ')[2]}: {last}"
    return (last or type(error).__name__)[:200]


def _chain(error: BaseException, outer: BaseException | None) -> Iterator[BaseException]:
    """An error and all its causes and contexts, but ``outer``."""
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
    import jax

    text = str(error)
    no_thread = isinstance(error, RuntimeError) and "start new thread" in text
    if no_thread or isinstance(error, (jax.errors.JaxRuntimeError, ImportError)):
        return reason_of(error)
    number = _OS_ERROR.search(text)
    if number is not None:
        return _with_file(error, text) if int(number[1]) not in _OF_CONTENT else None
    return _with_file(error, text) if _STATUS.match(text) else None


def _with_file(error: BaseException, text: str) -> str:
    """The reason in a message of tensorstore, and the last file named there."""
    files = re.findall(r'"(/[^"]+)"', text.partition(" [tensorstore_spec")[0])
    return f"{reason_of(error)}: {files[-1]}" if files else reason_of(error)


def _hindrance_at(path: Path) -> str | None:
    """The reason why the bytes at a path cannot be read; None where they can."""
    try:
        check_readable(path)
    except OSError as error:
        if error.errno not in _OF_CONTENT:
            return reason_of(error)
        return None if os.path.lexists(path) else "it has been removed"
    return None


def _read_through(path: Path) -> None:
    if not stat.S_ISREG(path.stat().st_mode):
        return  # reading a pipe might never end
    with path.open("rb", buffering=0) as file:
        try:
            while file.read(1 << 20):
                pass
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
