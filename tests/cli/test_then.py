"""Several commands in one process: ``score-sde train … then sample … then plot …``."""

import pytest
import tiny

from score_sde.cli import main
from score_sde.cli.main import THEN


@pytest.fixture
def workdir(tmp_path):
    return tiny.copy_of(tiny.toy_run(), tmp_path)


def test_commands_run_in_turn(workdir):
    sample = ("sample", f"--workdir={workdir}", "--num_samples=4", "--config.sampling.num_steps=2")
    text = tiny.run(*sample, THEN, "plot", f"--workdir={workdir}")
    assert text.index(f"samples of {workdir}") < text.index(f"results in {workdir}")
    assert (workdir / "samples" / "samples.npz").exists() and (workdir / "loss.png").exists()


def test_nothing_runs_after_a_command_that_fails(workdir, capsys):
    assert main(["sample", "--workdir=missing", THEN, "plot", f"--workdir={workdir}"]) == 2
    text, errors = capsys.readouterr()
    assert not text and errors == "score-sde sample: no such workdir: missing\n"
    assert not (workdir / "loss.png").exists()


@pytest.mark.parametrize(
    ("after", "error"),
    [
        (["plto"], "unknown command 'plto', did you mean 'plot'?; commands: "),
        ([], "'then' stands between two commands: score-sde train … then sample …"),
    ],
)
def test_all_commands_are_checked_before_the_first_runs(after, error, workdir, capsys):
    assert main(["plot", f"--workdir={workdir}", THEN, *after]) == 2
    assert capsys.readouterr().err.startswith(f"score-sde: {error}")
    assert not (workdir / "loss.png").exists()


def test_the_processes_of_launch_run_all_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = ("train", "--config=toy/moons", f"--workdir={tmp_path / 'run'}")
    more = ("sample", f"--workdir={tmp_path / 'run'}")
    job = tmp_path / "job.sbatch"
    assert main(["launch", "slurm", "--dry_run", f"--output={job}", "--", *flags, THEN, *more]) == 0
    script = job.read_text()
    assert f"{flags[-1]} then sample {more[-1]}" in " ".join(script.replace("\\\n", " ").split())
