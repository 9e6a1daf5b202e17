"""What a refusal is: one line that says what is wrong, and nothing of how the program
works inside.
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


def check_refusal(verb: str, text: str, errors: str) -> None:
    """Fail unless the standard output and error of a verb are those of a refusal."""
    assert not text, text
    assert errors.count("\n") == 1 and errors.endswith("\n"), errors
    assert errors.startswith(f"score-sde {verb}: "), errors
    assert not any(word in errors for word in INTERNALS), errors
