"""A batch script for Slurm: the same command in every task, stopped in time, queued
again, gone on with.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

GRACE = 120
"""Seconds before the time limit at which a run is asked to stop."""

_SCRIPT = """\
#!/bin/bash
# Written by `score-sde launch slurm`. To submit it again: sbatch {file}
{directives}

# A run that is asked to stop saves a checkpoint and ends with code 75. It is asked by SIGTERM: {grace} seconds before
# the time limit (--signal without "B:" means the tasks, not this script), or when Slurm takes its nodes away.
# The latter SIGTERM comes to this script too, which has to outlive its tasks:
trap : TERM
{exports}
srun --kill-on-bad-exit=0 \\
    {command}
code=$?

# 143 is that of a run which SIGTERM has met before it watched for signals: nothing had begun.
# Queue it again, unless Slurm does that already, or cancels the job: then its state is another.
if [[ "$code" =~ ^(75|143)$ ]] && [ "$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)" = RUNNING ]; then
    echo "stopped, to go on: queued again" >&2
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""  # noqa: E501

_GPUS = """
# Slurm shows each task its own GPUs alone, numbered from 0.
export JAX_LOCAL_DEVICE_IDS={ids}
"""

_CPUS = """
# srun does not take this from the lines above.
export SRUN_CPUS_PER_TASK={count}
"""


@dataclass(frozen=True, kw_only=True)
class SlurmJob:
    """What is asked of Slurm, in the words of ``sbatch``; what is None is left to the cluster.

    Attributes:
        command: the command of every task.
        flags: what comes after it, each on a line of its own.
        folder: where it runs.
        log: the file that all output goes to, ``%j`` for the number of the job.
        name: of the job.
        nodes: how many.
        ntasks_per_node: how many processes on each.
        gpus_per_task: how many GPUs each process has.
        cpus_per_task: how many cores.
        partition: where to queue.
        time: the limit, such as ``24:00:00``.
        account: who pays.
        extra: further options, such as ``--constraint=a100``.
    """

    command: Sequence[str]
    flags: Sequence[str] = ()
    folder: Path
    log: str
    name: str
    nodes: int = 1
    ntasks_per_node: int = 1
    gpus_per_task: int | None = None
    cpus_per_task: int | None = None
    partition: str | None = None
    time: str | None = None
    account: str | None = None
    extra: Sequence[str] = ()

    def options(self) -> Mapping[str, str]:
        """Those of ``sbatch``, but for the ones that every job has."""
        values = {
            "job-name": self.name,
            "nodes": self.nodes,
            "ntasks-per-node": self.ntasks_per_node,
            "gpus-per-task": self.gpus_per_task,
            "cpus-per-task": self.cpus_per_task,
            "partition": self.partition,
            "time": self.time,
            "account": self.account,
            "chdir": self.folder,
            "output": self.log,
        }
        return {name: str(value) for name, value in values.items() if value is not None}


def batch_script(job: SlurmJob, file: str) -> str:
    """The text of the script that is to be saved as ``file``.

    Raises:
        ValueError: where a value has more than one line, which no directive can hold.
    """
    options = [f"--{name}={_directive(name, value)}" for name, value in job.options().items()]
    options += ["--open-mode=append", "--requeue", f"--signal=TERM@{GRACE}"]
    extra = [f"#SBATCH {_one_line('--sbatch', line)}" for line in job.extra]
    exports = ""
    if job.gpus_per_task is not None:
        exports += _GPUS.format(ids=",".join(map(str, range(job.gpus_per_task))))
    if job.cpus_per_task is not None:
        exports += _CPUS.format(count=job.cpus_per_task)
    return _SCRIPT.format(
        file=shlex.quote(_one_line("the file", file)),
        directives="\n".join([*(f"#SBATCH {option}" for option in options), *extra]),
        grace=GRACE,
        exports=exports,
        command=" \\\n        ".join([shlex.join(job.command), *map(shlex.quote, job.flags)]),
    )


def escaped(path: Path) -> str:
    """A path in which Slurm replaces nothing: it knows ``%j`` and the like."""
    return str(path).replace("%", "%%")


def _directive(name: str, value: str) -> str:
    """A value as ``sbatch`` reads it from a line of a script: words with quotes, as a shell has."""
    line = _one_line(f"--{name}", value)
    if re.fullmatch(r"[\w@%+=:,./-]+", line):
        return line
    return '"' + re.sub(r'(["\\])', r"\\\1", line) + '"'


def _one_line(name: str, value: str) -> str:
    if len(value.splitlines()) > 1 or not value.isprintable():
        raise ValueError(f"{name} must be one line of text, got {value!r}")
    return value
