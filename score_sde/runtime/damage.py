"""Errors of files that are damaged or of another format: one line that names the file.

A reader of a format checks what it finds with `need`, and need not know the name of the
file. `reading` around it adds the name, and turns whatever a decoder raises on damaged
bytes into the same line. Errors of the system, which say nothing about the bytes, pass
(`score_sde.runtime.unreadable`).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from score_sde.runtime.bounded_reading import read_json
from score_sde.runtime.unreadable import is_of_system, message_of, system_error


class FormatError(ValueError):
    """Why a file cannot be read, without its name: "it is no database of LMDB"."""

    verdict: ClassVar[str] = "cannot be read"


class WrongBytesError(FormatError):
    """What is damaged in a file, without its name: "it is cut off"."""

    verdict: ClassVar[str] = "is damaged"


class FileError(ValueError):
    """One line that names the file. No context below adds anything to it."""


def need(condition: object, reason: str) -> None:
    """Raise ``WrongBytesError(reason)`` unless the condition is true."""
    if not condition:
        raise WrongBytesError(reason)


def need_format(condition: object, reason: str) -> None:
    """Raise ``FormatError(reason)`` unless the condition is true."""
    if not condition:
        raise FormatError(reason)


@contextmanager
def reading(
    name: str | Path,
    verdict: str = "is damaged and cannot be read",
    *,
    errors: type[Exception] | tuple[type[Exception], ...] = Exception,
    files: Iterable[Path] | None = None,
) -> Iterator[None]:
    """Turn what a decoder raises on foreign bytes into one line that names the file.

    Args:
        name: the file, or what else the line begins with.
        verdict: what follows the name, before the error in brackets.
        errors: the errors that the decoder raises; others pass.
        files: for a library that raises the same error for damage and for a file that
            it may not open: the files that it reads, of which each is then tried.

    Raises:
        FileError: ``NAME VERDICT (ValueError: …)``; ``NAME is damaged: REASON`` and
            ``NAME cannot be read: REASON`` for a `WrongBytesError` and a `FormatError`.
        OSError, MemoryError: where the system, not the bytes, is the cause.
    """
    try:
        yield
    except (FileError, NameError, ImportError):  # the last two are errors of code, not of bytes
        raise
    except FormatError as error:
        raise FileError(f"{name} {error.verdict}: {error}") from error
    except errors as error:
        obstacle = system_error(error, files) if files is not None else None
        if obstacle is error or is_of_system(error):
            raise
        if obstacle is not None:
            raise obstacle from error
        cause = error if files is None else root_cause(error)
        raise FileError(f"{name} {verdict} ({message_of(cause)})") from error


@contextmanager
def errors_in(name: str | Path, *damage: type[Exception]) -> Iterator[None]:
    """Name a file in the errors of a block that uses what the file holds.

    Args:
        name: the file, or what else the line begins with.
        damage: further errors, such as ``TypeError``, that the block raises only where
            the contents are not of the right structure.

    Raises:
        FileError: ``NAME: MESSAGE`` for a ``ValueError``, unless its message begins with
            the name; ``NAME is damaged (TypeError: …)`` for further errors.
    """
    try:
        yield
    except FileError:
        raise
    except FormatError as error:
        raise FileError(f"{name} {error.verdict}: {error}") from error
    except ValueError as error:
        message = " ".join(str(error).split())[:1000]
        named = message if message.startswith(str(name)) else f"{name}: {message}"
        raise FileError(named) from error
    except damage as error:
        raise FileError(f"{name} is damaged ({message_of(error)})") from error


def read_options(path: Path) -> dict[str, Any]:
    """The JSON object in a file, of bounded depth.

    Raises:
        FileError: where the file holds something else.
        OSError: where it cannot be read.
    """
    try:
        found = read_json(path)
    except ValueError as error:
        raise FileError(f"{path} is damaged: it is no JSON") from error
    if not isinstance(found, dict):
        raise FileError(f"{path} is damaged: it holds no JSON object")
    return found


def root_cause(error: BaseException) -> BaseException:
    """The error that led to all others."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
