"""Several processes of one run: joining those that a launcher has started, and waiting."""

import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

import jax
import numpy as np

from score_sde import checks
from score_sde.runtime.unreadable import UnreadableError

GIVEN = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
"""Environment variables with the address of the first process, the number of processes,
and the index of this process.
"""

LAUNCHERS = {
    "srun": ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
    "mpirun": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
}
"""The variables in which a launcher gives the number of processes and the index of this one.

Not ``SLURM_NTASKS``, which a batch script without srun has too, though it is one process.
"""

TPU_HOSTS = ("TPU_PROCESS_ADDRESSES", "TPU_WORKER_HOSTNAMES")
"""The variables in which Google Kubernetes Engine lists the hosts of a TPU slice, separated
by commas; there may be several slices.
"""


def join_processes() -> None:
    """Join the other processes of the launcher, if it has started several and this is not
    done yet. It must come before any other use of JAX.

    Raises:
        ValueError: where variables of the environment are missing or wrong.
        ConnectionError: where other processes cannot be reached.
    """
    if jax.distributed.is_initialized():
        return
    arguments = _arguments(os.environ)
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
    kind = worst(0 if failure is None else 2 if isinstance(failure, UnreadableError) else 1)
    if failure is not None:
        raise failure
    if kind == 2:
        raise UnreadableError("the first process could not read a file: its message says which")
    checks.require(not kind, "the first process has failed: its message says why")


def worst(value: int) -> int:
    """The largest of the values of all processes. All processes have to call it."""
    if jax.process_count() == 1:
        return value
    from jax.experimental import multihost_utils

    return int(multihost_utils.process_allgather(np.asarray(value, np.int32)).max())


def _arguments(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """The arguments of ``jax.distributed.initialize``; empty where JAX finds them itself,
    None for a single process.
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
    checks.require(
        not missing,
        f"{', '.join(missing)} must be set too: several processes need {', '.join(GIVEN)}",
    )
    num, process = _number(environment, count, 0), _number(environment, index, -1)
    checks.require(
        0 <= process < num, f"{index}={process} must be at least 0 and less than {count}={num}"
    )
    return {
        "coordinator_address": environment[address],
        "num_processes": num,
        "process_id": process,
    }


def _launched(environment: Mapping[str, str]) -> tuple[int, int] | None:
    """The number of processes and the index of this one, where a launcher has started several."""
    for count, index in LAUNCHERS.values():
        if (num := _number(environment, count, 0)) > 1:
            return num, _number(environment, index, 0)
    return None


def _several_tpu_hosts(environment: Mapping[str, str]) -> bool:
    hosts = next((environment[name] for name in TPU_HOSTS if environment.get(name)), "")
    return "," in hosts or (bool(hosts) and _number(environment, "MEGASCALE_NUM_SLICES", 1) > 1)


def _jax_finds_several(environment: Mapping[str, str]) -> bool:
    """Whether JAX itself finds several processes, where no variable gives their number.

    These are the virtual machines of a Cloud TPU slice, found by its metadata server, and
    the pods of an indexed Job or JobSet, found by the API of Kubernetes where the package
    ``kubernetes`` is installed. On other machines it makes no request.
    """
    pod = "KUBERNETES_SERVICE_HOST" in environment and "JOB_COMPLETION_INDEX" in environment
    wanted = "K8sCluster" if pod else "GceTpuCluster"
    if pod and find_spec("kubernetes") is None:
        return False
    try:
        from jax._src import clusters  # no public function asks without joining

        cluster = getattr(clusters, wanted)
        return bool(cluster.is_env_present()) and int(cluster.get_process_count()) > 1
    except (ImportError, AttributeError, OSError):  # OSError: a TPU outside that cloud
        return False
    except RuntimeError as error:
        raise ConnectionError(
            f"the processes cannot be counted: {str(error).splitlines()[0]}"
        ) from error


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "")
    if text and not text.isdecimal():
        checks.fail(name, text, "a whole number")
    return int(text) if text else default
