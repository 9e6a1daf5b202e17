"""``score-sde launch``: a verb in several processes, on this machine or by Slurm."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from score_sde.cli.flags import Flags, Refusal, refusals, value_of
from score_sde.cli.local_processes import Launch, run
from score_sde.cli.main import SHARING
from score_sde.cli.own_code import command_line
from score_sde.cli.own_files import OVERWRITE, check_results
from score_sde.cli.slurm_script import SlurmJob, batch_script, escaped
from score_sde.runtime.atomic_files import make_folder, replacing
from score_sde.runtime.naming import did_you_mean

MODES = ("local", "slurm")

OVERVIEW = """\
usage: score-sde launch local [--flag=value …] -- VERB [--flag=value …]
       score-sde launch slurm [--flag=value …] -- VERB [--flag=value …]

Run a verb in several processes that share its work: on this machine, or by Slurm on many.

  --help  show this help; after local or slurm, its flags"""


def main(argv: Sequence[str]) -> int:
    """Start the processes, or queue the job."""
    cut = argv.index("--") if "--" in argv else len(argv)
    own, words = list(argv[:cut]), list(argv[cut + 1 :])
    mode = own[0] if own else ""
    if mode not in MODES:
        if any(word in ("-h", "-help", "--help") for word in own):
            print(OVERVIEW)
            raise SystemExit(0)
        hint = did_you_mean(mode, MODES)
        found = f", got {mode!r}{hint}" if mode else ""
        raise Refusal(f"say where: score-sde launch local … or score-sde launch slurm …{found}")
    values = (_local_flags() if mode == "local" else _slurm_flags()).parse(
        _with_long_names(own[1:])
    )
    verb, *rest = _checked(words)
    command = (*command_line(), verb)
    with refusals():
        return (
            _launch_here(values, (*command, *rest))
            if mode == "local"
            else _submit(values, command, rest)
        )


def _checked(words: Sequence[str]) -> Sequence[str]:
    if not words:
        raise Refusal("what to run comes after --: for example -- train --config=… --workdir=…")
    if words[0] not in SHARING:
        hint = did_you_mean(words[0], SHARING)
        raise Refusal(
            f"{words[0]!r} shares its work with no other process{hint}; those that do: "
            f"{', '.join(SHARING)}"
        )
    return words


def _flags(mode: str, description: str) -> Flags:
    return Flags(f"launch {mode}", description, lambda argv: (None, list(argv)), {})


def _local_flags() -> Flags:
    flags = _flags(
        "local",
        "Run a verb in several processes on this machine. The verb and its flags come after --.",
    )
    flags.integer("processes", 2, "how many processes; -n for short", at_least=1)
    flags.integer(
        "devices_per_process",
        None,
        "GPUs of each, or fake CPU devices (default: all GPUs, shared evenly)",
        at_least=1,
    )
    flags.integer(
        "restarts",
        0,
        "how often to start again after a failure, or a stop that was not asked for here",
    )
    flags.number("grace", 30.0, "seconds for the others to stop when one has failed")
    return flags


def _slurm_flags() -> Flags:
    flags = _flags("slurm", "Queue a verb as a job of Slurm. The verb and its flags come after --.")
    flags.integer("nodes", 1, "how many nodes", at_least=1)
    flags.integer("ntasks_per_node", 1, "how many processes on each", at_least=1)
    flags.integer(
        "gpus_per_task", None, "GPUs of each process (default: none asked for)", at_least=1
    )
    flags.integer(
        "cpus_per_task", None, "cores of each process (default: the cluster's)", at_least=1
    )
    flags.string("partition", None, "where to queue (default: the cluster's)")
    flags.string(
        "time",
        None,
        "time limit, as 24:00:00, after which the job is queued again (default: the cluster's)",
    )
    flags.string("account", None, "who pays (default: the cluster's)")
    flags.string(
        "sbatch",
        None,
        "options of sbatch besides, by semicolons, as --exclusive;--mem=64G (default: none)",
    )
    flags.string("output", None, "the script (default: launch.sbatch in the workdir)")
    flags.boolean("overwrite", False, OVERWRITE)
    flags.boolean("dry_run", False, "write the script and submit nothing")
    return flags


def _with_long_names(argv: Sequence[str]) -> list[str]:
    """``-n 2`` and ``-n2`` as absl reads them."""
    return [
        re.sub(r"^-n(=?)(\d*)$", lambda m: f"--processes={m[2]}" if m[2] else "--processes", word)
        for word in argv
    ]


def _launch_here(values: Any, command: tuple[str, ...]) -> int:
    return run(
        Launch(command, values.processes, values.devices_per_process, values.restarts, values.grace)
    )


def _submit(values: Any, command: Sequence[str], rest: Sequence[str]) -> int:
    workdir = Path(value_of("workdir", rest) or ".").expanduser().resolve()
    file = (
        Path(values.output).expanduser().resolve() if values.output else workdir / "launch.sbatch"
    )
    if not values.dry_run and shutil.which("sbatch") is None:
        raise Refusal("no sbatch on this machine: --dry_run writes the script without it")
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
    if done.returncode:
        raise Refusal(f"sbatch: {done.stderr.removeprefix('sbatch: error: ')}")
    number = done.stdout.strip().partition(";")[0]
    print(f"submitted job {number}; its output: {workdir}/slurm-{number}.log")
    return 0
