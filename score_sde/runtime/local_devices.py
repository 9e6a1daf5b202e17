"""The GPUs of this process among those of its host, read from the environment without JAX.

JAX takes one GPU per process under srun and mpirun: the one whose number is the index of
the process on its host. That is wrong where a process has several GPUs, and where the
launcher shows each process only its own, which are then numbered from 0.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from score_sde import checks

VISIBLE = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
"""Environment variables that limit the GPUs of a process."""

CHOSEN = "JAX_LOCAL_DEVICE_IDS"
"""The environment variable with the numbers of the GPUs that JAX shall use."""

DEVICES = Path("/dev")
"""The folder with the devices of the machine, where no variable names its GPUs."""


class Place(NamedTuple):
    """The place of a process on its host: its rank among ``processes`` ones."""

    rank: int
    processes: int


def local_device_ids(environment: Mapping[str, str]) -> list[int] | None:
    """The numbers of the GPUs of this process among those that it sees.

    A process that sees only its own GPUs uses all of them; processes that see the same
    GPUs divide them evenly. None where the user has chosen, and where there are no GPUs.
    """
    seen = len(visible_gpus(environment))
    place = place_of(environment)
    if environment.get(CHOSEN) or not seen:
        return None
    if place is None or _sees_only_its_own(environment, seen, place.processes):
        return list(range(seen))
    each = seen // place.processes
    return list(range(place.rank * each, (place.rank + 1) * each))


def place_of(environment: Mapping[str, str]) -> Place | None:
    """The place of this process on its host, where srun or mpirun tells it."""
    tasks = environment.get("SLURM_STEP_TASKS_PER_NODE", "")  # such as 4(x2),3
    if "SLURM_LOCALID" in environment and tasks:
        counts = [
            int(count)
            for count, repeats in re.findall(r"(\d+)(?:\(x(\d+)\))?", tasks)
            for _ in range(int(repeats or 1))
        ]
        node = whole_number(environment, "SLURM_NODEID", 0)
        rank = whole_number(environment, "SLURM_LOCALID", 0)
        return Place(rank, max(counts[min(node, len(counts) - 1)], rank + 1))
    if "OMPI_COMM_WORLD_LOCAL_RANK" in environment:
        rank = whole_number(environment, "OMPI_COMM_WORLD_LOCAL_RANK", 0)
        count = whole_number(environment, "OMPI_COMM_WORLD_LOCAL_SIZE", 1)
        return Place(rank, max(count, rank + 1))
    return None


def visible_gpus(environment: Mapping[str, str]) -> list[str]:
    """The names of the GPUs that a process with this environment sees."""
    platforms = environment.get("JAX_PLATFORMS", "")
    if platforms and not {"cuda", "gpu", "rocm"} & set(platforms.split(",")):
        return []
    for variable in VISIBLE:
        chosen = environment.get(variable)
        if chosen is not None:
            names = [name.strip() for name in chosen.split(",")]
            return [name for name in names if name and name != "-1"]
    found = [
        match[1]
        for path in DEVICES.glob("nvidia*")
        if (match := re.fullmatch(r"nvidia(\d+)", path.name))
    ]
    return sorted(found, key=int)


def whole_number(environment: Mapping[str, str], name: str, default: int) -> int:
    """The whole number in a variable, or the default where it is unset or empty."""
    text = environment.get(name, "")
    if text and not text.isdecimal():
        checks.fail(name, text, "a whole number")
    return int(text) if text else default


def _sees_only_its_own(environment: Mapping[str, str], seen: int, processes: int) -> bool:
    """Whether the launcher has given this process its own GPUs, ``seen`` in number."""
    of_step = environment.get("SLURM_STEP_GPUS", "")
    return (
        seen < processes
        or seen < len(of_step.split(",") if of_step else ())
        or environment.get("SLURM_GPUS_PER_TASK", "").rpartition(":")[2] == str(seen)
        or environment.get("SLURM_GPU_BIND", "none").removeprefix("verbose,") != "none"
    )
