"""``score-sde launch``: a command in several processes, on this machine or by Slurm."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from score_sde.cli.config_source import no_config
from score_sde.cli.flags import HELP, Flags, UsageError, require, usage_errors, value_of
from score_sde.cli.local_processes import Launch, run
from score_sde.cli.main import SHARING
from score_sde.cli.own_code import command_line
from score_sde.cli.shared_flags import add_overwrite
from score_sde.cli.slurm_script import SlurmJob, batch_script, escaped
from score_sde.runtime.naming import did_you_mean
from score_sde.runtime.object_store import url_of

MODES = ("local", "slurm")

CLUSTER = "default: the cluster's"
"""The default of an option that is left to the cluster, in the help."""

OVERVIEW = """\
usage: score-sde launch local [--flag=value …] -- COMMAND [--flag=value …]
       score-sde launch slurm [--flag=value …] -- COMMAND [--flag=value …]

Run a command in several processes that share its work, on this machine or on many by Slurm.

  --help  show this help; after local or slurm, the flags"""


def main(argv: Sequence[str]) -> int:
    """Start the processes, or submit the job."""
    cut = argv.index("--") if "--" in argv else len(argv)
    own, words = list(argv[:cut]), list(argv[cut + 1 :])
    mode = own[0] if own else ""
    if mode not in MODES:
        if any(word in HELP for word in own):
            print(OVERVIEW)
            raise SystemExit(0)
        hint = did_you_mean(mode, MODES)
        found = f", not {mode!r}{hint}" if mode else ""
        raise UsageError(f"use score-sde launch local … or score-sde launch slurm …{found}")
    values = (_local_flags() if mode == "local" else _slurm_flags()).parse(
        _with_long_names(own[1:])
    )
    name, *rest = _checked(words)
    command = (*command_line(), name)
    with usage_errors():
        return (
            _launch_here(values, (*command, *rest))
            if mode == "local"
            else _submit(values, command, rest)
        )


def _checked(words: Sequence[str]) -> Sequence[str]:
    """The command and its flags after ``--``."""
    require(words, "no command after --: for example -- train --config=… --workdir=…")
    require(
        words[0] in SHARING,
        f"{words[0]!r} cannot share its work among processes{did_you_mean(words[0], SHARING)}; "
        f"commands that can: {', '.join(SHARING)}",
    )
    return words


def _flags(mode: str, description: str) -> Flags:
    return Flags(f"launch {mode}", description, no_config, {})


def _local_flags() -> Flags:
    flags = _flags(
        "local",
        "Run a command in several processes on this machine. The command and its flags follow --.",
    )
    flags.integer("processes", 2, "number of processes; short: -n", at_least=1)
    flags.integer(
        "devices_per_process",
        None,
        "GPUs per process, or emulated CPU devices (default: all GPUs, shared evenly)",
        at_least=1,
    )
    flags.integer(
        "restarts",
        0,
        "number of restarts after a failure, or a stop by another program",
    )
    flags.number("grace", 30.0, "seconds until the others are killed after one process has failed")
    return flags


def _slurm_flags() -> Flags:
    flags = _flags("slurm", "Submit a command as a Slurm job. The command and its flags follow --.")
    flags.integer("nodes", 1, "number of nodes", at_least=1)
    flags.integer("ntasks_per_node", 1, "processes per node", at_least=1)
    flags.integer("gpus_per_task", None, "GPUs per process (default: no request)", at_least=1)
    flags.integer("cpus_per_task", None, f"CPU cores per process ({CLUSTER})", at_least=1)
    flags.string("partition", None, f"partition of the job ({CLUSTER})")
    flags.string(
        "time", None, f"time limit, such as 24:00:00; the job is then requeued ({CLUSTER})"
    )
    flags.string("account", None, f"account that is charged ({CLUSTER})")
    flags.string(
        "sbatch",
        None,
        "further sbatch options, separated by semicolons, such as --exclusive;--mem=64G (default: "
        "none)",
    )
    flags.string("output", None, "the batch script (default: launch.sbatch in the workdir)")
    add_overwrite(flags)
    flags.boolean("dry_run", False, "write the script and do not submit it")
    return flags


def _with_long_names(argv: Sequence[str]) -> list[str]:
    """The flags with ``--processes`` for ``-n 2`` and ``-n2``."""
    return [
        re.sub(r"^-n(=?)(\d*)$", lambda m: f"--processes={m[2]}" if m[2] else "--processes", word)
        for word in argv
    ]


def _launch_here(values: Any, command: tuple[str, ...]) -> int:
    return run(
        Launch(command, values.processes, values.devices_per_process, values.restarts, values.grace)
    )


def _submit(values: Any, command: Sequence[str], rest: Sequence[str]) -> int:
    from score_sde.cli.own_files import check_results
    from score_sde.runtime.atomic_files import make_folder, replacing

    named = value_of("workdir", rest) or "."
    # The log of a run in object storage, and its script, are in the folder of the command.
    workdir = (Path.cwd() if url_of(named) else Path(named).expanduser()).resolve()
    file = (
        Path(values.output).expanduser().resolve() if values.output else workdir / "launch.sbatch"
    )
    require(not values.output or url_of(values.output) is None, "--output must be a local file")
    require(
        values.dry_run or shutil.which("sbatch"),
        "no sbatch on this machine: with --dry_run the script is written and not submitted",
    )
    fields = (
        "nodes",
        "ntasks_per_node",
        "gpus_per_task",
        "cpus_per_task",
        "partition",
        "time",
        "account",
    )
    job = SlurmJob(
        command=command,
        flags=rest,
        folder=Path.cwd(),
        log=f"{escaped(workdir)}/slurm-%j.log",
        name=workdir.name or command[-1],
        extra=[line.strip() for line in (values.sbatch or "").split(";") if line.strip()],
        **{name: getattr(values, name) for name in fields},
    )
    text = batch_script(job, str(file))
    check_results([file], own=False, overwrite=values.overwrite)
    make_folder(workdir)
    with replacing(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(f"wrote {file}")
    if values.dry_run:
        return 0
    done = subprocess.run(
        ["sbatch", "--parsable", str(file)], capture_output=True, text=True, check=False
    )
    require(not done.returncode, f"sbatch: {done.stderr.removeprefix('sbatch: error: ')}")
    number = done.stdout.strip().partition(";")[0]
    print(f"submitted job {number}; its output: {workdir}/slurm-{number}.log")
    return 0
