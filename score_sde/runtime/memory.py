"""What does not fit into the memory of the machine or of a device."""

import re

import jax


def lack_of_memory(error: BaseException) -> str | None:
    """What could not be allocated, in one line; None for every other error.

    NumPy raises a ``MemoryError`` for it, XLA its own error with many lines.
    """
    text = str(error)
    from_xla = isinstance(error, jax.errors.JaxRuntimeError) and re.search(
        "RESOURCE_EXHAUSTED|out of memory", text, re.I
    )
    if not (isinstance(error, MemoryError) or from_xla):
        return None
    amount = re.search(r"[\d.]+ ?(bytes|[KMGTPE]i?B)", text)
    found = f" for {amount.group()}" if amount else ""
    return f"not enough memory{found}: a smaller batch, model or data set takes less"
