"""The form of a usage error: one line on standard error about the input, and nothing
about the program's internals.
"""

INTERNALS = (
    "Traceback",
    "<class",
    "invalid literal",
    "object at 0x",
    "ConfigDict(",
    "line 1)",
    "NoneType",
    "Error(",
)


def check_usage_error(command: str, text: str, errors: str) -> None:
    """Fail unless the standard output and error of a command are those of a usage error."""
    assert not text, text
    assert errors.count("\n") == 1 and errors.endswith("\n"), errors
    assert errors.startswith(f"score-sde {command}: "), errors
    assert not any(word in errors for word in INTERNALS), errors
