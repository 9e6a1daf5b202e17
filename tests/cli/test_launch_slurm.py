"""The script that is written for Slurm; tests/cluster runs it."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from score_sde.cli.main import main
from score_sde.cli.slurm_script import SlurmJob, batch_script

EXPECTED = """\
#!/bin/bash
# Written by `score-sde launch slurm`. To submit it again: sbatch /runs/digits/launch.sbatch
#SBATCH --job-name=digits
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-task=2
#SBATCH --cpus-per-task=8
#SBATCH --partition=a100
#SBATCH --time=24:00:00
#SBATCH --account=lab
#SBATCH --chdir="/shared/my code"
#SBATCH --output=/runs/digits/slurm-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=TERM@120
#SBATCH --exclusive

# On SIGTERM a run saves a checkpoint and exits with code 75. Slurm sends SIGTERM 120 seconds before the time
# limit (--signal without "B:" reaches the tasks and not this script), and when it preempts or
# requeues the job. Then this script gets SIGTERM too, and must outlive its tasks:
trap : TERM

# srun does not read this from the directives above.
export SRUN_CPUS_PER_TASK=8

srun --kill-on-bad-exit=0 \\
    /env/bin/python -m score_sde train \\
        --config=digits/vp \\
        '--workdir=/runs/my digits'
code=$?

# Code 143 means that SIGTERM came before the run handled signals, when it had not begun its work.
# Requeue the job while it is RUNNING; in any other state Slurm has requeued or cancelled it already.
if [[ "$code" =~ ^(75|143)$ ]] && [ "$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)" = RUNNING ]; then
    echo "stopped before the end: queued again" >&2
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""  # noqa: E501


def job(**changes):
    plain = {
        "command": ("python", "-m", "score_sde", "train"),
        "folder": Path("/"),
        "log": "log",
        "name": "name",
    }
    return SlurmJob(**{**plain, **changes})


def test_the_whole_script():
    whole = job(
        command=("/env/bin/python", "-m", "score_sde", "train"),
        flags=("--config=digits/vp", "--workdir=/runs/my digits"),
        folder=Path("/shared/my code"),
        log="/runs/digits/slurm-%j.log",
        name="digits",
        nodes=2,
        ntasks_per_node=4,
        gpus_per_task=2,
        cpus_per_task=8,
        partition="a100",
        time="24:00:00",
        account="lab",
        extra=("--exclusive",),
    )
    assert batch_script(whole, "/runs/digits/launch.sbatch") == EXPECTED


def test_what_is_not_asked_for_is_left_to_the_cluster():
    text = batch_script(job(), "file")
    for name in ("gpus", "cpus", "CPUS", "partition", "time=", "account"):
        assert name not in text


line = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" "), min_size=1)


@given(
    flags=st.lists(
        st.one_of(line, st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=20))
    )
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_every_flag_reaches_the_command_as_it_was_given(flags):
    """By bash, with a function in place of srun."""
    text = batch_script(job(flags=flags), "file").replace(
        "trap : TERM", "srun() { printf '%s\\0' \"$@\"; }"
    )
    done = subprocess.run(["bash", "-c", text], capture_output=True, check=True)
    words = done.stdout.split(b"\0")[:-1]
    assert [word.decode() for word in words][5:] == flags


@pytest.mark.parametrize("state", ["RUNNING", "CANCELLED", "PENDING"])
@pytest.mark.parametrize("code", [0, 1, 2, 75, 137, 143])
def test_a_job_that_was_stopped_is_queued_again(code, state):
    """By bash, with functions in place of Slurm's commands; not where Slurm cancels it,
    or has queued it itself.
    """
    stands_in = (
        f"srun() {{ return {code}; }}; squeue() {{ echo {state}; }}; scontrol() "
        f"{{ echo scontrol $*; }}"
    )
    text = batch_script(job(), "file").replace("trap : TERM", f"{stands_in}; SLURM_JOB_ID=7")
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True)
    again = code in (75, 143) and state == "RUNNING"
    assert (done.returncode, done.stdout) == (code, "scontrol requeue 7\n" if again else "")


@given(name=line)
def test_every_value_of_a_directive_is_one_word(name):
    """By the rules of sbatch: double quotes, in which a backslash escapes."""
    (directive,) = [
        text for text in batch_script(job(name=name), "file").splitlines() if "--job-name=" in text
    ]
    assert shlex.split(directive.removeprefix("#SBATCH "), posix=True) == [f"--job-name={name}"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


SUBMIT = [
    "launch",
    "slurm",
    "--nodes=2",
    "--sbatch=--exclusive; --mem=64G",
    "--",
    "train",
    "--workdir=runs/50%",
]


def with_sbatch(folder, monkeypatch, text):
    """A stand-in for sbatch, which knows no cluster."""
    program = folder / "bin" / "sbatch"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


def test_a_dry_run_writes_the_script_alone(folder, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert main([*SUBMIT[:3], "--dry_run", *SUBMIT[3:]]) == 0
    file = folder / "runs" / "50%" / "launch.sbatch"
    assert capsys.readouterr().out == f"wrote {file}\n"
    lines = file.read_text().splitlines()
    assert (
        f"#SBATCH --output={folder}/runs/50%%/slurm-%j.log" in lines
        and f"#SBATCH --chdir={folder}" in lines
    )
    assert {"#SBATCH --exclusive", "#SBATCH --mem=64G", "#SBATCH --job-name=50%"} <= set(lines)
    assert f"    {shlex.quote(sys.executable)} -P -m score_sde train \\" in lines
    assert [path.name for path in file.parent.iterdir()] == ["launch.sbatch"]


def test_the_job_is_submitted(folder, capsys, monkeypatch):
    with_sbatch(folder, monkeypatch, 'test "$1" = --parsable && test -f "$2" && echo "12;main"')
    assert main([*SUBMIT[:3], "--output=jobs/a.sbatch", *SUBMIT[3:]]) == 0
    expected = (
        f"wrote {folder}/jobs/a.sbatch\nsubmitted job 12; its output: "
        f"{folder}/runs/50%/slurm-12.log\n"
    )
    assert capsys.readouterr().out == expected


def test_an_error_of_sbatch_is_shown_in_one_line(folder, capsys, monkeypatch):
    with_sbatch(
        folder, monkeypatch, 'echo "sbatch: error: invalid partition specified: x" >&2; exit 1'
    )
    assert main(SUBMIT) == 2
    assert capsys.readouterr().err == "score-sde launch: sbatch: invalid partition specified: x\n"


def test_without_slurm_there_is_the_dry_run(folder, usage_error, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert shutil.which("sbatch") is None
    assert usage_error(*SUBMIT).endswith(
        "no sbatch on this machine: with --dry_run the script is written and not submitted"
    )
    assert not list(folder.iterdir())


def test_the_script_of_a_run_in_object_storage_is_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = ["--config=digits/vp", "--workdir=gs://bucket/run"]
    assert main(["launch", "slurm", "--dry_run", "--", "train", *flags]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["launch.sbatch"]
    text = (tmp_path / "launch.sbatch").read_text(encoding="utf-8")
    assert "--workdir=gs://bucket/run" in text and f"{tmp_path}/slurm-%j.log" in text


def test_the_script_itself_is_not_in_object_storage(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = ["--dry_run", "--output=gs://bucket/job.sbatch", "--", "train", "--workdir=run"]
    assert main(["launch", "slurm", *flags]) == 2
    assert "--output must be a local file" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
