"""Several processes are found in the (faked) environments of launchers, pods and TPU slices."""

import pytest

from score_sde.runtime import launchers
from score_sde.runtime.launchers import arguments_of

NODE = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "node[1-2]", "SLURM_LOCALID": "0"}

ALONE = {
    "a laptop": {},
    "the first process of one": {
        "SLURM_STEP_NUM_TASKS": "1",
        "SLURM_PROCID": "0",
        "SLURM_NTASKS": "1",
        **NODE,
    },
    "a batch script": {"SLURM_NTASKS": "8", "SLURM_PROCID": "0", **NODE},
    "mpirun -n 1": {"OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0"},
    "a pod with a TPU of one host": {"TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"},
    "any pod": {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "HOSTNAME": "notebook-0"},
    "one slice of one host": {"TPU_WORKER_HOSTNAMES": "host", "MEGASCALE_NUM_SLICES": "1"},
    "slices without hosts": {"MEGASCALE_NUM_SLICES": "2"},
    "the sixth of an indexed job, without jax[k8s]": {
        "KUBERNETES_SERVICE_HOST": "1.2.3.4",
        "JOB_COMPLETION_INDEX": "5",
    },
}

FOUND_BY_JAX = {
    "srun": {"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "3", "SLURM_NTASKS": "8", **NODE},
    "mpirun": {
        "OMPI_COMM_WORLD_SIZE": "2",
        "OMPI_COMM_WORLD_RANK": "1",
        "OMPI_MCA_orte_hnp_uri": "1.0;tcp://h:1",
    },
    "a TPU slice on GKE": {"TPU_WORKER_HOSTNAMES": "host-0,host-1", "TPU_WORKER_ID": "1"},
    "its newer name": {"TPU_PROCESS_ADDRESSES": "host-0:8476,host-1:8476", "TPU_WORKER_ID": "1"},
    "two slices of one host": {
        "TPU_WORKER_HOSTNAMES": "host",
        "MEGASCALE_NUM_SLICES": "2",
        "MEGASCALE_SLICE_ID": "1",
    },
}


@pytest.mark.parametrize("name", ALONE)
def test_a_process_that_is_alone_joins_nobody(name, monkeypatch):
    monkeypatch.setattr(launchers, "find_spec", lambda library: None)
    assert arguments_of(ALONE[name]) is None


@pytest.mark.parametrize("name", FOUND_BY_JAX)
def test_arguments_that_jax_finds_itself_are_not_given(name):
    assert arguments_of(FOUND_BY_JAX[name]) == {}


def test_given_variables_come_before_those_of_a_launcher():
    given = {"JAX_COORDINATOR_ADDRESS": "host:1", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "2"}
    expected = {"coordinator_address": "host:1", "num_processes": 4, "process_id": 2}
    for launcher in ({}, *FOUND_BY_JAX.values(), *ALONE.values()):
        assert arguments_of({**launcher, **given}) == expected


@pytest.mark.parametrize(("launcher", "num", "index"), [("srun", 8, 3), ("mpirun", 2, 1)])
def test_an_address_alone_is_enough_under_a_launcher(launcher, num, index):
    found = arguments_of({**FOUND_BY_JAX[launcher], "JAX_COORDINATOR_ADDRESS": "host:1"})
    assert found == {"coordinator_address": "host:1", "num_processes": num, "process_id": index}


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {"JAX_COORDINATOR_ADDRESS": "h:1"},
            "JAX_NUM_PROCESSES, JAX_PROCESS_ID must be set too: several processes",
        ),
        (
            {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"},
            "JAX_COORDINATOR_ADDRESS must be set too",
        ),
        (
            {"JAX_COORDINATOR_ADDRESS": "h:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "2"},
            "JAX_PROCESS_ID=2 must be at least 0 and less than JAX_NUM_PROCESSES=2",
        ),
        ({"SLURM_STEP_NUM_TASKS": "two"}, "SLURM_STEP_NUM_TASKS='two' must be a whole number"),
    ],
)
def test_missing_and_impossible_variables_are_named(environment, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        arguments_of(environment)


class Cluster:
    """What jax knows of a cluster."""

    def __init__(self, count):
        self.count = count

    def is_env_present(self):
        return True

    def get_process_count(self):
        if isinstance(self.count, Exception):
            raise self.count
        return self.count


POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "1"}


@pytest.mark.parametrize(("name", "environment"), [("K8sCluster", POD), ("GceTpuCluster", {})])
@pytest.mark.parametrize(("count", "expected"), [(1, None), (4, {})])
def test_jax_counts_the_processes_where_no_variable_does(
    monkeypatch, name, environment, count, expected
):
    from jax._src import clusters

    monkeypatch.setattr(launchers, "find_spec", lambda library: True)
    monkeypatch.setattr(clusters, name, Cluster(count))
    assert arguments_of(environment) == expected


def test_a_pod_without_access_to_kubernetes_is_an_error_of_one_line(monkeypatch):
    from jax._src import clusters

    monkeypatch.setattr(launchers, "find_spec", lambda library: True)
    monkeypatch.setattr(
        clusters, "K8sCluster", Cluster(RuntimeError("Kubernetes API Error: 403 - Forbidden\nmore"))
    )
    with pytest.raises(
        ConnectionError, match=r"cannot be counted: Kubernetes API Error: 403 - Forbidden$"
    ):
        arguments_of(POD)
