"""Several processes of one run: joining those that a launcher has started, and waiting."""

import os
from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np

from score_sde import checks
from score_sde.runtime.launchers import GIVEN, arguments_of
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


def worst(value: int) -> int:
    """The largest of the values of all processes. All processes have to call it."""
    if jax.process_count() == 1:
        return value
    from jax.experimental import multihost_utils

    return int(multihost_utils.process_allgather(np.asarray(value, np.int32)).max())
