"""Several processes of one run: joining those that a launcher has started, and waiting."""

import os
from collections.abc import Callable, Mapping
from typing import TypeVar

import jax
import numpy as np

from score_sde import checks
from score_sde.runtime.failures import watch_others
from score_sde.runtime.launchers import GIVEN, arguments_of
from score_sde.runtime.local_devices import local_device_ids, visible_gpus
from score_sde.runtime.unreadable import UnreadableError

Result = TypeVar("Result")


def join_processes() -> None:
    """Join the other processes of the launcher, if it has started several and this is not
    done yet. It must come before any other use of JAX.

    Raises:
        ValueError: where variables of the environment are missing or wrong.
        ConnectionError: where other processes cannot be reached.
    """
    if jax.distributed.is_initialized():
        return
    arguments = arguments_of(os.environ)
    if arguments is None:
        return
    # The service would handle SIGTERM itself, of which `StopVote` takes care.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(**arguments)
    except RuntimeError as error:
        raise ConnectionError(
            f"the processes cannot be joined: {str(error).splitlines()[0]}"
        ) from error
    except ValueError as error:
        if arguments:
            raise
        reason = "the launcher does not say where the first process listens"
        raise ValueError(
            f"the processes cannot be joined: {reason}; set {GIVEN[0]}=HOST:PORT"
        ) from error
    from jax._src.distributed import global_state  # the client has no public name

    watch_others(global_state.client, global_state.process_id)


def work_alone() -> None:
    """Use the GPUs that are those of this process on its host, and join no other process.
    It must come before any other use of JAX.
    """
    ids = local_device_ids(os.environ)
    if ids is not None:
        names = ",".join(map(str, ids))
        jax.config.update("jax_cuda_visible_devices", names)
        jax.config.update("jax_rocm_visible_devices", names)


def devices_in_use(environment: Mapping[str, str]) -> str:
    """The devices of all processes, and how many of the visible GPUs this process uses.

    >>> devices_in_use({})
    '1 cpu'
    """
    used, processes = jax.local_device_count(), jax.process_count()
    seen = len(visible_gpus(environment)) if jax.default_backend() == "gpu" else used
    parts = [f"{jax.device_count()} {jax.default_backend()}"]
    if processes > 1:
        parts.append(f"of {processes} processes")
    if used != jax.device_count() or seen != used:
        parts.append(f"({used} of the {seen} that process {jax.process_index()} sees)")
    return " ".join(parts)


def meet(name: str) -> None:
    """Return when every process has called it; at once where there is one."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def by_first(action: Callable[[], None]) -> None:
    """Run an action in the first process alone. Where it fails, all processes fail, so that
    none waits.

    Raises:
        UnreadableError: in the other processes, where the first could not read a file.
        ValueError: in the other processes, where it failed otherwise. The first process
            raises the error of ``action``.
    """
    failure: Exception | None = None
    if jax.process_index() == 0:
        try:
            action()
        except (OSError, ValueError) as error:
            failure = error
    kind = worst(_kind_of(failure))
    if failure is not None:
        raise failure
    _raise_of_others(kind, "the first process")


def by_all(action: Callable[[], Result]) -> Result:
    """Run an action in every process. Where it fails in one, all fail, so that none waits.

    Raises:
        OSError, ValueError: the error of the action in this process.
        UnreadableError: where only others fail, and one could not read a file.
        ValueError: where only others fail otherwise.
    """
    failure, found = None, []
    try:
        found.append(action())
    except (OSError, ValueError) as error:
        failure = error
    kind = worst(_kind_of(failure))
    if failure is not None:
        raise failure
    _raise_of_others(kind, "another process")
    return found[0]


def _kind_of(failure: Exception | None) -> int:
    return 0 if failure is None else 2 if isinstance(failure, UnreadableError) else 1


def _raise_of_others(kind: int, which: str) -> None:
    if kind == 2:
        raise UnreadableError(f"{which} could not read a file: its message says which")
    checks.require(not kind, f"{which} has failed: its message says why")


def text_of(process: int, text: str) -> str:
    """The text, such as a path, of one process. All processes have to call it."""
    if jax.process_count() == 1:
        return text
    from jax.experimental import multihost_utils

    is_source = jax.process_index() == process
    data = np.frombuffer(os.fsencode(text), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(data.size), is_source=is_source))
    # All processes have to pass arrays of one size.
    sent = multihost_utils.broadcast_one_to_all(np.resize(data, size), is_source=is_source)
    return os.fsdecode(np.asarray(sent, np.uint8).tobytes())


def worst(value: int) -> int:
    """The largest of the values of all processes. All processes have to call it."""
    if jax.process_count() == 1:
        return value
    from jax.experimental import multihost_utils

    return int(multihost_utils.process_allgather(np.asarray(value, np.int32)).max())
