"""Processes of one launch that differ: each ends soon, with the reason."""

import signal
import sys

import numpy as np
import pytest
import tiny
from launched import each, finished

pytestmark = pytest.mark.slow

ON_CPU = {"JAX_PLATFORMS": "cpu"}

TASK = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "localhost",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_TASKS_PER_NODE": "2",
    "SLURM_PROCID": "1",
    "SLURM_NTASKS": "2",
}
"""The environment of the second of two tasks of srun."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("apart")
    config = tiny.config_file(tiny.TOY, folder, "toy.py")
    train = command("train", f"--config={config}", f"--workdir={folder / 'run'}")
    finished(each([train], env=ON_CPU))
    return folder / "run", config


def command(*words):
    return (sys.executable, "-m", "score_sde", *words)


def errors_of(*commands, code=2):
    """The last line of the errors of each process."""
    texts = finished(each([command(*words) for words in commands], env=ON_CPU), code)
    return [errors.splitlines()[-1] for _, errors in texts]


def test_trainings_in_two_folders_do_not_begin(run, tmp_path):
    folders = [tmp_path / name for name in "ab"]
    found = errors_of(*(("train", f"--config={run[1]}", f"--workdir={one}") for one in folders))
    assert set(found) == {
        f"score-sde train: the workdir of process 1, {folders[1]}, is not that of process 0, "
        f"{folders[0]}: give all processes the same"
    }
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_samples_for_two_folders_are_not_drawn(run, tmp_path):
    words = ("sample", f"--workdir={run[0]}", "--num_samples=8")
    found = errors_of(*((*words, f"--output={tmp_path / name}") for name in "ab"))
    assert len(set(found)) == 1 and "folder for the results of process 1" in found[0]
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("wrong", [0, 1])
def test_a_process_that_fails_alone_ends_the_other(run, tmp_path, wrong):
    folders = [run[0], run[0]]
    folders[wrong] = tmp_path / "none"
    found = errors_of(*(("sample", f"--workdir={one}", "--num_samples=8") for one in folders))
    assert found[wrong].startswith(f"score-sde sample: no such workdir: {tmp_path / 'none'}")
    assert found[1 - wrong] == f"score-sde: process {wrong} has failed: its message says why"


def test_a_task_that_is_independent_waits_for_nobody(run, tmp_path):
    folder, _ = run
    words = command("sample", f"--workdir={folder}", "--num_samples=8", f"--output={tmp_path}")
    (process,) = each([(*words, "--independent")], env={**ON_CPU, **TASK})
    finished([process])
    with np.load(tmp_path / "samples.npz") as file:
        assert len(file["samples"]) == 8


def test_the_start_tells_devices_folder_and_lock(run, tmp_path):
    words = ("train", f"--config={run[1]}", f"--workdir={tmp_path}")
    texts = finished(each([command(*words)] * 2, env={**ON_CPU, "JAX_NUM_CPU_DEVICES": "2"}))
    line = "devices: 4 cpu of 2 processes (2 of the 2 that process 0 sees); workdir: shared, locked"
    assert [line in errors.splitlines() for _, errors in texts] == [True, False]


def test_training_without_a_lock(run, tmp_path):
    words = ("train", f"--config={run[1]}", f"--workdir={tmp_path}", "--lock=False")
    ((_, errors),) = finished(each([command(*words)], env=ON_CPU))
    assert "devices: 1 cpu; workdir: not locked" in errors.splitlines()
    assert not (tmp_path / "run.lock").exists()


def test_sigterm_while_the_processes_meet_ends_both(run, tmp_path):
    words = command("train", f"--config={run[1]}", f"--workdir={tmp_path}")
    steps = "--config.training.num_steps=1000000"
    processes = each([(*words, steps)] * 2, env=ON_CPU)
    assert processes[0].stderr is not None
    for line in processes[0].stderr:
        if line.startswith("train: "):
            break
    processes[1].send_signal(signal.SIGTERM)
    finished(processes, 75)
