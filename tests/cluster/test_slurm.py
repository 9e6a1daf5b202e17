"""`score-sde launch slurm` on a real Slurm of one node: jobs that are queued again resume."""

import re
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import one_node
import pytest
import tiny

import score_sde
from score_sde.training import read_scalars, restore_for_sampling

ROOT = str(Path(score_sde.__file__).parents[1])
STEPS = 600

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(one_node.missing()), reason=one_node.missing() or "there is Slurm"),
]

NTASKS = (1, 2)
"""With how many tasks on the node."""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with one_node.cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield {**environment, "PYTHONPATH": ROOT, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}


def submit(slurm, workdir, *flags, ntasks=1):
    """The number of a job that trains."""
    config = tiny.config_file(tiny.TOY, workdir.parent, f"{workdir.name}.py")
    command = [
        sys.executable,
        "-m",
        "score_sde",
        "launch",
        "slurm",
        f"--ntasks_per_node={ntasks}",
        "--cpus_per_task=1",
    ]
    lengths = {"num_steps": STEPS, "log_every": 1, "eval_every": 100, "checkpoint_every": 100}
    training = [f"--config.training.{key}={value}" for key, value in lengths.items()]
    words = [*flags, "--", "train", f"--config={config}", f"--workdir={workdir}", *training]
    done = subprocess.run(
        [*command, *words], env=slurm, capture_output=True, text=True, timeout=120, check=True
    )
    return re.search(r"^submitted job (\d+);", done.stdout, re.MULTILINE)[1]


def ended(slurm, job):
    found = details(slurm, job)
    assert "JobState=FAILED" not in found, found
    return "JobState=COMPLETED" in found


def wait(ready, seconds=240):
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def lines(workdir):
    path = workdir / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def text(workdir):
    return "".join(path.read_text() for path in workdir.glob("slurm-*.log"))


def details(slurm, job):
    return one_node.answer(slurm, "scontrol", "show", "job", job)


def same_bits(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in pairs)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, slurm):
    """The parameters of a run that nothing has stopped, by the number of tasks."""
    found = {}

    def params(ntasks):
        if ntasks not in found:
            workdir = tmp_path_factory.mktemp("uninterrupted") / "run"
            job = submit(slurm, workdir, ntasks=ntasks)
            wait(lambda: ended(slurm, job))
            found[ntasks] = params_of(workdir)
        return found[ntasks]

    return params


def params_of(workdir):
    checkpoint = restore_for_sampling(workdir / "checkpoints")
    assert checkpoint.step == STEPS
    return checkpoint.ema_params


STOPS = {
    "from outside": ("scontrol", "requeue"),
    "as at its time limit": ("scancel", "--signal=TERM"),  # the tasks alone get it
}


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("ntasks", NTASKS)
def test_a_job_that_is_queued_again_ends_with_the_same_bits(
    slurm, tmp_path, uninterrupted, ntasks, stop
):
    expected = uninterrupted(ntasks)
    workdir = tmp_path / "run"
    job = submit(slurm, workdir, ntasks=ntasks)
    wait(lambda: lines(workdir) > 20)
    one_node.answer(slurm, *STOPS[stop], job)
    wait(lambda: ended(slurm, job))
    assert "stopped by SIGTERM at step" in text(workdir) and "found a checkpoint of step" in text(
        workdir
    )
    assert ("stopped before the end: queued again" in text(workdir)) == (
        stop == "as at its time limit"
    )
    assert "Restarts=1" in details(slurm, job)
    assert list(read_scalars(workdir / "metrics.jsonl")["loss"][0]) == list(range(1, STEPS + 1))
    assert same_bits(params_of(workdir), expected)


def test_a_job_that_is_cancelled_saves_and_is_not_queued_again(slurm, tmp_path):
    workdir = tmp_path / "run"
    job = submit(slurm, workdir)
    wait(lambda: lines(workdir) > 20)
    one_node.answer(slurm, "scancel", job)
    wait(lambda: not one_node.answer(slurm, "squeue", "--noheader", f"--jobs={job}"))
    assert "JobState=CANCELLED" in details(slurm, job) and "Restarts=0" in details(slurm, job)
    assert "stopped by SIGTERM at step" in text(workdir) and "queued again" not in text(workdir)


def test_two_tasks_share_their_work(slurm, tmp_path):
    workdir = tiny.copy_of(tiny.toy_run(), tmp_path)
    command = [
        sys.executable,
        "-m",
        "score_sde",
        "launch",
        "slurm",
        "--ntasks_per_node=2",
        "--cpus_per_task=1",
    ]
    words = ["--", "sample", f"--workdir={workdir}", "--batch=4"]
    done = subprocess.run(
        [*command, *words], env=slurm, capture_output=True, text=True, timeout=120, check=True
    )
    job = re.search(r"^submitted job (\d+);", done.stdout, re.MULTILINE)[1]
    wait(lambda: ended(slurm, job))
    assert "sample, process 0 of 2" in text(workdir)
