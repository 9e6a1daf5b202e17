"""Missing devices, too few open files, and out-of-memory errors of NumPy and XLA, in one
line.
"""

import contextlib
import re

from score_sde import checks

MIN_OPEN_FILES = 128
"""The files that one process may need open at once: those of JAX, a checkpoint and data."""


class NoDeviceError(RuntimeError):
    """JAX cannot start the requested platform on this machine."""


def check_devices() -> None:
    """Start the platform of JAX, as its first computation would.

    Raises:
        NoDeviceError: where the platform is unknown, JAX is installed without support for
            it, the machine has no such device, or the device has no free memory.
    """
    import jax

    try:
        jax.local_devices()
    except Exception as error:  # without a GPU it is an AssertionError of JAX
        raise NoDeviceError(_no_device(error)) from error


def allow_open_files() -> None:
    """Raise the limit of open files to `MIN_OPEN_FILES` where it is lower.

    Raises:
        ValueError: where the system does not allow as many. Libraries would end in
            unrelated errors, in the middle of a run.
    """
    try:
        import resource
    except ImportError:  # on Windows, which has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    infinite = resource.RLIM_INFINITY
    if soft != infinite and soft < MIN_OPEN_FILES:
        enough = hard == infinite or hard >= MIN_OPEN_FILES
        checks.require(
            enough,
            f"a process may have only {hard} files open here, and needs {MIN_OPEN_FILES}: raise "
            f"the limit by ulimit -n {MIN_OPEN_FILES}",
        )
        with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid any change
            resource.setrlimit(resource.RLIMIT_NOFILE, (MIN_OPEN_FILES, hard))


def lack_of_memory(error: BaseException) -> str | None:
    """The message of an out-of-memory error of NumPy or XLA in one line; None for other errors.

    >>> lack_of_memory(MemoryError("Unable to allocate 3.7 GiB for an array"))
    'not enough memory for 3.7 GiB: a smaller batch, model or data set takes less'
    """
    import jax

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
    import jax

    asked = jax.config.values["jax_platforms"] or ""
    text = re.split(r" \((?:set JAX_PLATFORMS|you may need)", " ".join(str(error).split()))[0]
    named = re.search(r"backend:? '?(\w+)'?", text)
    reason = (
        (text.partition(f"'{named[1]}': ")[2] if named else "")
        or text
        or "jax sees none on this machine"
    )
    first = asked.partition(",")[0]
    # "gpu" stands for cuda or rocm, one of which the error may name.
    platform = named[1] if named and (named[1] in asked or not asked) else first or "jax"
    way_out = (
        f"JAX_PLATFORMS is {asked!r}: unset it, or set it to cpu"
        if asked
        else "JAX_PLATFORMS=cpu does without"
    )
    if re.search("RESOURCE_EXHAUSTED|out of memory", reason, re.I):
        return f"the {platform} device has no free memory ({reason.rstrip('.')}); {way_out}"
    return f"no {platform} device: {reason.rstrip('.')}; {way_out}"
