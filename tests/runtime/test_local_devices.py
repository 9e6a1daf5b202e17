"""Each process of a host uses its GPUs, in the environments that launchers make."""

import pytest

from score_sde.runtime import local_devices
from score_sde.runtime.launchers import arguments_of
from score_sde.runtime.local_devices import Place, local_device_ids, place_of


def srun(index=0, tasks="1", node=0, gpus="0,1,2,3", **more):
    """A task of srun, which sees ``gpus``."""
    return {
        "SLURM_LOCALID": str(index),
        "SLURM_NODEID": str(node),
        "SLURM_STEP_TASKS_PER_NODE": tasks,
        "CUDA_VISIBLE_DEVICES": gpus,
        **more,
    }


def mpirun(index, count, gpus):
    return {
        "OMPI_COMM_WORLD_LOCAL_RANK": str(index),
        "OMPI_COMM_WORLD_LOCAL_SIZE": str(count),
        "CUDA_VISIBLE_DEVICES": gpus,
    }


CASES = {
    "one task of four GPUs": (srun(), [0, 1, 2, 3]),
    "one task of four GPUs on each of two nodes": (srun(tasks="1(x2)", node=1), [0, 1, 2, 3]),
    "the first of two that see four": (srun(0, "2"), [0, 1]),
    "the second of two that see four": (srun(1, "2"), [2, 3]),
    "the last of four that see four": (srun(3, "4(x2)", 1), [3]),
    "nodes with unequal tasks": (srun(1, "4,2", 1), [2, 3]),
    "the second of two with a GPU each": (srun(1, "2", gpus="1"), [0]),
    "the second of two with two of the four GPUs": (
        srun(1, "2", gpus="2,3", SLURM_STEP_GPUS="0,1,2,3"),
        [0, 1],
    ),
    "two GPUs per task, bound": (srun(1, "2", gpus="0,1", SLURM_GPUS_PER_TASK="2"), [0, 1]),
    "typed GPUs per task": (srun(1, "2", gpus="0,1", SLURM_GPUS_PER_TASK="a100:2"), [0, 1]),
    "two GPUs per task, not bound": (srun(1, "2", SLURM_GPUS_PER_TASK="2"), [2, 3]),
    "a binding of GPUs": (srun(1, "2", gpus="0,1", SLURM_GPU_BIND="single:1"), [0, 1]),
    "no binding": (srun(1, "2", gpus="0,1", SLURM_GPU_BIND="none"), [1]),
    "AMD": ({**srun(1, "2"), "CUDA_VISIBLE_DEVICES": "", "ROCR_VISIBLE_DEVICES": "0,1"}, None),
    "AMD alone": (
        {"SLURM_LOCALID": "1", "SLURM_STEP_TASKS_PER_NODE": "2", "ROCR_VISIBLE_DEVICES": "0,1"},
        [1],
    ),
    "mpirun, one process": (mpirun(0, 1, "0,1,2,3"), [0, 1, 2, 3]),
    "mpirun, the second of two": (mpirun(1, 2, "0,1,2,3"), [2, 3]),
    "mpirun, one GPU by a wrapper": (mpirun(1, 2, "1"), [0]),
    "no launcher": ({"CUDA_VISIBLE_DEVICES": "4,5"}, [0, 1]),
    "a launcher of ours within a task of srun": (srun(0, "1", gpus="2,3"), [0, 1]),
    "no GPU": (srun(1, "2", gpus=""), None),
    "hidden": (srun(1, "2", gpus="-1"), None),
    "on the CPU": ({**srun(1, "2"), "JAX_PLATFORMS": "cpu"}, None),
    "the choice of the user": ({**srun(1, "2"), "JAX_LOCAL_DEVICE_IDS": "3"}, None),
}


@pytest.mark.parametrize("name", CASES)
def test_the_gpus_of_a_process(name):
    environment, expected = CASES[name]
    assert local_device_ids(environment) == expected


def test_the_processes_of_a_host_divide_its_gpus_without_a_rest_in_common():
    for count in (1, 2, 3, 4, 8):
        parts = [
            local_device_ids(srun(i, str(count), gpus="0,1,2,3,4,5,6,7")) for i in range(count)
        ]
        flat = [number for part in parts for number in part or ()]
        assert len(flat) == len(set(flat)) == 8 // count * count


def test_gpus_that_no_variable_names_are_those_of_the_machine(tmp_path, monkeypatch):
    for name in ("nvidia0", "nvidia1", "nvidia10", "nvidiactl"):
        (tmp_path / name).touch()
    monkeypatch.setattr(local_devices, "DEVICES", tmp_path)
    assert local_device_ids({}) == [0, 1, 2]


def test_the_places_of_tasks():
    assert place_of(srun(2, "4(x2),3", 2)) == Place(2, 3)
    assert place_of({}) is None


def test_wrong_variables_are_named():
    with pytest.raises(ValueError, match="SLURM_LOCALID='x' must be a whole number"):
        place_of({**srun(), "SLURM_LOCALID": "x"})


def test_jax_is_given_the_gpus_under_srun():
    task = srun(1, "2", SLURM_STEP_NUM_TASKS="2", SLURM_PROCID="1")
    assert arguments_of(task) == {"local_device_ids": [2, 3]}
