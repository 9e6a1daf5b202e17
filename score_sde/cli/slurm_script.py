"""A batch script for Slurm: the same command in every task, stopped before the time
limit, requeued, and resumed.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from score_sde import checks

GRACE = 120
"""Seconds before the time limit when a run gets the signal to stop."""

_SCRIPT = """\
#!/bin/bash
# Written by `score-sde launch slurm`. To submit it again: sbatch {file}
{directives}

# On SIGTERM a run saves a checkpoint and exits with code 75. Slurm sends SIGTERM {grace} seconds before the time
# limit (--signal without "B:" reaches the tasks and not this script), and when it preempts or
# requeues the job. Then this script gets SIGTERM too, and must outlive its tasks:
trap : TERM
{exports}
srun --kill-on-bad-exit=0 \\
    {command}
code=$?

# Code 143 means that SIGTERM came before the run handled signals, when it had not begun its work.
# Requeue the job while it is RUNNING; in any other state Slurm has requeued or cancelled it already.
if [[ "$code" =~ ^(75|143)$ ]] && [ "$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)" = RUNNING ]; then
    echo "stopped before the end: queued again" >&2
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""  # noqa: E501

_CPUS = """
# srun does not read this from the directives above.
export SRUN_CPUS_PER_TASK={count}
"""


@dataclass(frozen=True, kw_only=True)
class SlurmJob:
    """A Slurm job, with the option names of ``sbatch``; None leaves an option to the
    cluster.

    Attributes:
        command: the command of every task.
        flags: the flags of the command, each on a line of its own in the script.
        folder: the working directory.
        log: the file for all output; ``%j`` is the number of the job.
        name: name of the job.
        nodes: number of nodes.
        ntasks_per_node: processes per node.
        gpus_per_task: GPUs per process.
        cpus_per_task: CPU cores per process.
        partition: the partition.
        time: the time limit, such as ``24:00:00``.
        account: the account that is charged.
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
        """The options of ``sbatch`` that differ between jobs."""
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
    """The text of the script, to be saved as ``file``.

    Raises:
        ValueError: where a value has several lines, which a directive cannot hold.
    """
    options = [f"--{name}={_directive(name, value)}" for name, value in job.options().items()]
    options += ["--open-mode=append", "--requeue", f"--signal=TERM@{GRACE}"]
    extra = [f"#SBATCH {_one_line('--sbatch', line)}" for line in job.extra]
    exports = ""
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
    """A path with its ``%`` escaped, since Slurm replaces ``%j`` and the like."""
    return str(path).replace("%", "%%")


def _directive(name: str, value: str) -> str:
    """A value as ``sbatch`` reads it from a script: quoted as in a shell."""
    line = _one_line(f"--{name}", value)
    if re.fullmatch(r"[\w@%+=:,./-]+", line):
        return line
    return '"' + re.sub(r'(["\\])', r"\\\1", line) + '"'


def _one_line(name: str, value: str) -> str:
    checks.require(
        len(value.splitlines()) <= 1 and value.isprintable(),
        f"{name}={value!r} must be one line of text",
    )
    return value
