"""The scripts that show a user how to write their own: each runs, in tiny settings."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
from launched import run_in

SCRIPTS = Path(__file__).parents[2] / "scripts"


def run(name, *argv):
    with tiny.quick_compilation():
        runpy.run_path(str(SCRIPTS / name))["main"](list(argv))


@pytest.fixture(autouse=True)
def no_window(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")


def test_draw_gives_the_same_samples_in_three_ways(tmp_path, capsys):
    output = tmp_path / "samples.npy"
    run("draw.py", f"--workdir={tiny.toy_run()}", "--num_samples=16", f"--output={output}")
    said = capsys.readouterr().out
    differences = [float(line.split(": ")[1]) for line in said.splitlines()[:2]]
    assert np.load(output).shape == (16, 2)
    assert "8 devices" in said and max(differences) < 1e-3


@pytest.mark.parametrize("library", ["nnx", "equinox"])
def test_a_network_of_ones_own_is_trained_and_drawn(library, tmp_path):
    picture = tmp_path / "moons.png"
    run("train_own_network.py", f"--library={library}", "--num_steps=20", f"--picture={picture}")
    assert picture.stat().st_size > 5_000


def test_an_sde_of_ones_own_has_the_marginal_of_its_coefficients(tmp_path, capsys):
    picture = tmp_path / "moons.png"
    run("own_sde.py", "--num_steps=20", f"--picture={picture}")
    assert float(capsys.readouterr().out.split()[-1]) < 1e-4
    assert picture.stat().st_size > 5_000


@pytest.mark.slow
def test_two_moons_are_trained_and_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["two_moons.py", "0", str(tmp_path / "moons.npy")])
    runpy.run_path(str(SCRIPTS / "two_moons.py"))
    samples = np.load(tmp_path / "moons.npy")
    assert samples.shape == (1000, 2) and abs(samples.std() - 1.0) < 0.1


@pytest.mark.slow
def test_killed_trainings_end_as_an_undisturbed_one(tmp_path):
    words = ["--kills=2", "--steps=20", f"--workdir={tmp_path / 'runs'}"]
    done = run_in(tmp_path, sys.executable, str(SCRIPTS / "fuzz_kills.py"), *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is the undisturbed one after 2 kills in all" in done.stdout
