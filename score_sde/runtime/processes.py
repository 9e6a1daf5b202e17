"""Several processes that work on one thing, as a launcher starts them: each knows the
others, and they can wait.
"""

import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

import jax
import numpy as np

from score_sde.runtime.unreadable import UnreadableError

GIVEN = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
"""Environment variables that say where the first process listens, how many there are,
and which this one is.
"""

LAUNCHERS = {
    "srun": ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
    "mpirun": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
}
"""In which variables a launcher tells a process how many there are, and which this one is.

A batch script that calls no srun has ``SLURM_NTASKS`` too, but is one process.
"""

TPU_HOSTS = ("TPU_PROCESS_ADDRESSES", "TPU_WORKER_HOSTNAMES")
"""In which Google Kubernetes Engine lists the hosts of a slice of TPUs, by commas;
there may be several slices.
"""


def join_processes() -> None:
    """Join the processes of the launcher, if it has started more than one; nothing if
    that is done already.

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
    # It would keep SIGTERM for itself, where a run counts the wishes to stop (see
    # `StopVote`).
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
    """Return when every process has come here; at once where there is one."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def by_first(action: Callable[[], None]) -> None:
    """Let the first process do something that the others rely on; where it fails, they
    fail too, rather than wait.

    Raises:
        UnreadableError: Where the first process could not read something.
        ValueError: Where it failed otherwise; in the first process itself, what
            ``action`` raises.
    """
    failure: Exception | None = None
    if jax.process_index() == 0:
        try:
            action()
        except (OSError, ValueError) as error:
            failure = error
    kind = worst(0 if failure is None else 2 if isinstance(failure, UnreadableError) else 1)
    if failure is not None:
        raise failure
    if kind == 2:
        raise UnreadableError("the first process could not read something: its message says what")
    if kind:
        raise ValueError("the first process has refused: its message says why")


def worst(value: int) -> int:
    """The largest of the values of all processes, which all have to call this."""
    if jax.process_count() == 1:
        return value
    from jax.experimental import multihost_utils

    return int(multihost_utils.process_allgather(np.asarray(value, np.int32)).max())


def _arguments(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """Those of ``jax.distributed.initialize``; none where jax finds them all, None for
    a process that is alone.
    """
    launched = _launched(environment)
    missing = [name for name in GIVEN if not environment.get(name)]
    if len(missing) == len(GIVEN):
        return (
            {}
            if launched or _several_tpu_hosts(environment) or _jax_finds_several(environment)
            else None
        )
    address, count, index = GIVEN
    if missing == [count, index] and launched:
        num, process = launched
        return {
            "coordinator_address": environment[address],
            "num_processes": num,
            "process_id": process,
        }
    if missing:
        raise ValueError(
            f"{', '.join(missing)} must be set too: several processes need {', '.join(GIVEN)}"
        )
    num, process = _number(environment, count, 0), _number(environment, index, -1)
    if not 0 <= process < num:
        raise ValueError(f"{index}={process} must be at least 0 and less than {count}={num}")
    return {
        "coordinator_address": environment[address],
        "num_processes": num,
        "process_id": process,
    }


def _launched(environment: Mapping[str, str]) -> tuple[int, int] | None:
    """How many processes a launcher has started, if several, and which of them this is."""
    for count, index in LAUNCHERS.values():
        if (num := _number(environment, count, 0)) > 1:
            return num, _number(environment, index, 0)
    return None


def _several_tpu_hosts(environment: Mapping[str, str]) -> bool:
    hosts = next((environment[name] for name in TPU_HOSTS if environment.get(name)), "")
    return "," in hosts or (bool(hosts) and _number(environment, "MEGASCALE_NUM_SLICES", 1) > 1)


def _jax_finds_several(environment: Mapping[str, str]) -> bool:
    """Whether jax itself finds several processes, where no variable tells how many there are.

    Those are the virtual machines of a Cloud TPU slice, by their metadata, and the pods
    of an indexed Job or JobSet of Kubernetes, by its API where the package
    ``kubernetes`` is installed. It asks nobody on a machine that is neither.
    """
    pod = "KUBERNETES_SERVICE_HOST" in environment and "JOB_COMPLETION_INDEX" in environment
    wanted = "K8sCluster" if pod else "GceTpuCluster"
    if pod and find_spec("kubernetes") is None:
        return False
    try:
        from jax._src import clusters  # no public name asks without joining

        cluster = getattr(clusters, wanted)
        return bool(cluster.is_env_present()) and int(cluster.get_process_count()) > 1
    except (ImportError, AttributeError, OSError):  # the last of a TPU that is not in that cloud
        return False
    except RuntimeError as error:
        raise ConnectionError(
            f"the processes cannot be counted: {str(error).splitlines()[0]}"
        ) from error


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "")
    if text and not text.isdecimal():
        raise ValueError(f"{name} must be a whole number, got {text!r}")
    return int(text) if text else default
