"""What the machine lacks: the platform that jax is asked for, or memory."""

import re

import jax


class NoDeviceError(RuntimeError):
    """The platform that jax is asked for cannot be started on this machine."""


def check_devices() -> None:
    """Start jax's platform, as its first computation would.

    Raises:
        NoDeviceError: in one line, where that fails: the platform is unknown, jax is
            installed without support for it, the machine has no such device, or the
            device has no free memory.
    """
    try:
        jax.local_devices()
    except Exception as error:  # an assertion of jax's own where the machine has no GPU
        raise NoDeviceError(_no_device(error)) from error


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


def _no_device(error: Exception) -> str:
    asked = jax.config.values["jax_platforms"] or ""
    text = re.split(r" \((?:set JAX_PLATFORMS|you may need)", " ".join(str(error).split()))[0]
    named = re.search(r"backend:? '?(\w+)'?", text)
    reason = (
        (text.partition(f"'{named[1]}': ")[2] if named else "")
        or text
        or "jax sees none on this machine"
    )
    first = asked.partition(",")[0]
    platform = (
        named[1] if named and (named[1] in asked or not asked) else first or "jax"
    )  # "gpu" is cuda or rocm
    way_out = (
        f"JAX_PLATFORMS is {asked!r}: unset it, or set it to cpu"
        if asked
        else "JAX_PLATFORMS=cpu does without"
    )
    if re.search("RESOURCE_EXHAUSTED|out of memory", reason, re.I):
        return f"the {platform} device has no free memory ({reason.rstrip('.')}); {way_out}"
    return f"no {platform} device: {reason.rstrip('.')}; {way_out}"
