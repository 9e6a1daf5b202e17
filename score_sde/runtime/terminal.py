"""Text for terminals and logs of any encoding, such as ASCII under ``LC_ALL=C``."""

import codecs
import sys

PLAIN = {"…": "...", "×": "x", "±": "+/-", "²": "^2", "−": "-", "╌": "-", "→": "->", "–": "-"}
"""The characters of this program's own messages, in ASCII."""

HANDLER = "score_sde.plain"
"""The name of `plain` among the error handlers of encodings."""


def plain(error: UnicodeError) -> tuple[str | bytes, int]:
    r"""Replace one character that an encoding lacks, in an error handler of `codecs`.

    A byte of a file name that is no text is written as it is; other characters as
    ``\xe9``.

    >>> "5 ± 1 é".encode("ascii", errors=HANDLER)
    b'5 +/- 1 \\xe9'
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    replaced: str | bytes = PLAIN.get(character, ascii(character)[1:-1])
    if "\udc80" <= character <= "\udcff":
        replaced = bytes([ord(character) - 0xDC00])
    return replaced, error.start + 1


codecs.register_error(HANDLER, plain)


def print_in_any_encoding() -> None:
    """Let the standard streams print every text, whatever their encoding.

    Streams that a program has put in their place stay as they are.
    """
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=HANDLER)
