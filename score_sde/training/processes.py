"""Several processes that work on one thing, as a launcher starts them: each knows the others, and they can wait."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

GIVEN = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
"""Environment variables that say where the first process listens, how many there are, and which this one is."""

LAUNCHED = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
"""Those in which srun and mpirun tell a process how many there are; jax finds the rest.

A batch script that calls no srun has ``SLURM_NTASKS`` too, but is one process.
"""


def join_processes() -> None:
    """Join the processes of the launcher, if it has started more than one; nothing if that is done already.

    It must come before any other use of jax.

    Raises:
        ValueError: where the environment says too little or what cannot be.
        ConnectionError: where the others cannot be reached.
    """
    if jax.distributed.is_initialized():
        return
    arguments = _arguments(os.environ)
    if arguments is None:
        return
    try:
        jax.distributed.initialize(**arguments)
    except RuntimeError as error:
        raise ConnectionError(f"the processes cannot be joined: {str(error).splitlines()[0]}") from error


def meet(name: str) -> None:
    """Return when every process has come here; at once where there is one."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def by_first(action: Callable[[], None]) -> None:
    """Let the first process do something that the others rely on; where it fails, they fail too, rather than wait.

    Raises:
        ValueError: Where it failed in another process; there, what ``action`` raises.
    """
    failure: Exception | None = None
    if jax.process_index() == 0:
        try:
            action()
        except (OSError, ValueError) as error:
            failure = error
    failed = _first_says(failure is not None)
    if failure is not None:
        raise failure
    if failed:
        raise ValueError("the first process has refused: its message says why")


def _first_says(value: bool) -> bool:
    if jax.process_count() == 1:
        return value
    from jax.experimental import multihost_utils

    return bool(multihost_utils.broadcast_one_to_all(np.asarray(value)))


def _arguments(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """Those of ``jax.distributed.initialize``; None for a process that is alone."""
    missing = [name for name in GIVEN if not environment.get(name)]
    if len(missing) == len(GIVEN):
        return {} if any(_number(environment, name, 0) > 1 for name in LAUNCHED) else None
    if missing:
        raise ValueError(f"{', '.join(missing)} must be set too: several processes need {', '.join(GIVEN)}")
    address, count, index = GIVEN
    num, process = _number(environment, count, 0), _number(environment, index, -1)
    if not 0 <= process < num:
        raise ValueError(f"{index}={process} must be at least 0 and less than {count}={num}")
    return {"coordinator_address": environment[address], "num_processes": num, "process_id": process}


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "")
    if text and not text.isdecimal():
        raise ValueError(f"{name} must be a whole number, got {text!r}")
    return int(text) if text else default
