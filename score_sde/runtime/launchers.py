"""What the environment says about the launcher of several processes, read without JAX."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from score_sde import checks
from score_sde.runtime.local_devices import local_device_ids, whole_number

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


def arguments_of(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """The arguments of ``jax.distributed.initialize``, without those that JAX finds itself;
    None for a single process.

    Raises:
        ValueError: where variables of the environment are missing or wrong.
        ConnectionError: where the processes cannot be counted.
    """
    found = _processes(environment)
    ids = None if found is None else local_device_ids(environment)
    return found if found is None or ids is None else {**found, "local_device_ids": ids}


def _processes(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """The address of the first process, the number of processes and the index of this one,
    without those that JAX finds itself; None for a single process.
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
    num, process = whole_number(environment, count, 0), whole_number(environment, index, -1)
    checks.require(
        0 <= process < num, f"{index}={process} must be at least 0 and less than {count}={num}"
    )
    return {
        "coordinator_address": environment[address],
        "num_processes": num,
        "process_id": process,
    }


def are_several(environment: Mapping[str, str]) -> bool:
    """Whether variables of the environment alone tell of several processes."""
    return any(environment.get(name) for name in GIVEN) or _launched(environment) is not None


def _launched(environment: Mapping[str, str]) -> tuple[int, int] | None:
    """The number of processes and the index of this one, where a launcher has started several."""
    for count, index in LAUNCHERS.values():
        if (num := whole_number(environment, count, 0)) > 1:
            return num, whole_number(environment, index, 0)
    return None


def _several_tpu_hosts(environment: Mapping[str, str]) -> bool:
    hosts = next((environment[name] for name in TPU_HOSTS if environment.get(name)), "")
    return "," in hosts or (
        bool(hosts) and whole_number(environment, "MEGASCALE_NUM_SLICES", 1) > 1
    )


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
