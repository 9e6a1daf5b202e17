"""Standard output and error that break: on a full disk, or in a pipe that nobody reads."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import Any, TextIO, cast, final


@final
class LastingStream:
    """A text stream that falls silent at the first write that fails, and never raises.

    A lost line is no reason to lose work. Characters that the encoding of the stream
    does not have still raise ``UnicodeEncodeError``.

    >>> LastingStream(sys.__stderr__).broken is None
    True

    Args:
        stream: the stream; None, as Python has it for a closed one, for silence.

    Attributes:
        broken: the error of the first write that failed; None before.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.broken: Exception | None = None

    def write(self, text: str, /) -> int:
        """Write text, if the stream works."""
        self._try("write", text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream, if it works."""
        self._try("flush")

    def isatty(self) -> bool:
        """Whether it is a terminal that works."""
        if self._stream is None or self.broken is not None:
            return False
        try:
            return bool(self._stream.isatty())
        except (OSError, ValueError):
            return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_stream"], name)

    def _try(self, method: str, *arguments: str) -> None:
        if self._stream is None or self.broken is not None:
            return
        try:
            getattr(self._stream, method)(*arguments)
        except (OSError, ValueError) as error:  # a closed stream raises ValueError
            if isinstance(error, UnicodeError):
                raise
            self.broken = error
            _silence(self._stream)


def lasting(stream: Any) -> LastingStream:
    """The stream as a `LastingStream`; one of these as it is."""
    return stream if isinstance(stream, LastingStream) else LastingStream(stream)


def tell(line: str) -> None:
    """Show a line on standard error, if that can be written."""
    # In one call, as other threads write there too.
    errors = lasting(sys.stderr)
    errors.write(f"{line}\n")
    errors.flush()


@contextmanager
def lasting_output() -> Iterator[None]:
    """Let standard output and error fall silent in a block where they cannot be written.

    A command then works to the end, and its exit code is about its work alone. Output
    that is lost on a full disk is reported on standard error; a reader that closes a
    pipe, as ``head`` does, has chosen to.
    """
    _open_closed_descriptors()
    before = sys.stdout, sys.stderr
    output, errors = lasting(sys.stdout), lasting(sys.stderr)
    sys.stdout, sys.stderr = cast(TextIO, output), cast(TextIO, errors)
    try:
        yield
    finally:
        output.flush()
        if isinstance(output.broken, OSError) and output.broken.errno not in (
            errno.EPIPE,
            errno.EBADF,
        ):
            errors.write(f"standard output cannot be written: {output.broken.strerror}\n")
        errors.flush()
        sys.stdout, sys.stderr = before


def _open_closed_descriptors() -> None:
    """Open the null device in place of closed standard streams: the next file that is
    opened, such as a checkpoint, would get their number, and what libraries print there.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
            if null != number:
                os.dup2(null, number)
                os.close(null)


def _silence(stream: Any) -> None:
    """Lead a standard stream that is broken to the null device, also for libraries that
    write to its number, and for what is still buffered: Python flushes it at the end,
    and would exit with code 120.
    """
    if isinstance(stream, TextIOWrapper):
        with suppress(OSError, ValueError):
            if stream.fileno() in (1, 2):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())
                os.close(null)
