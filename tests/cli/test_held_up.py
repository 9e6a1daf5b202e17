"""Training that is held up: by data or other processes that do not come, and by another
run in the same folder.
"""

import functools
import re
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny
from launched import ROOT, finished, started

from score_sde.cli import main
from score_sde.experiments import train
from score_sde.experiments.loading import load
from score_sde.runtime.watchdog import Watchdog
from score_sde.training import loop

GATED = """
import itertools
import os
import time
from pathlib import Path

import numpy as np

from score_sde.data import DataSource, LazyExamples

POINTS = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
READ = itertools.count()


def read(row):
    gate = Path(os.environ["GATE"])
    while next(READ) > 160 and not gate.exists():
        time.sleep(0.05)
    return POINTS[row]


def points():
    train = LazyExamples(shape=(32, 2), dtype=np.dtype(np.float32), read=read)
    return DataSource(train=train, test=POINTS[32:], num_levels=None)
"""
"""Data that come for ten batches of 16, and then not before a file is there."""


class Gated:
    """Commands whose data wait at a gate."""

    def __init__(self, folder: Path):
        (folder / "gated.py").write_text(GATED, encoding="utf-8")
        text = tiny.TOY.replace(
            "    return config", "    config.training.trackers = ()\n    return config"
        )
        text = text.replace('"mixture", "num_examples": 120, "seed": 1', '"gated:points"')
        text = text.replace('"checkpoint_every": 10', '"checkpoint_every": 2')
        self.file, self.gate = tiny.config_file(text, folder), folder / "gate"
        self.env = {"PYTHONPATH": f"{ROOT}:{folder}", "GATE": str(self.gate)}

    def train(self, workdir: Path, *flags: str):
        """A process that trains there."""
        return started("train", workdir, f"--config={self.file}", *flags, env=self.env)


@pytest.mark.slow
def test_a_run_whose_data_do_not_come_ends_in_one_line_and_goes_on_when_run_again(tmp_path):
    gated, workdir = Gated(tmp_path), tmp_path / "run"
    ((text, errors),) = finished(
        gated.train(workdir, "--config.training.hang_timeout=20.0"), code=75
    )
    stacks = workdir / "hang_0.txt"
    *before, line = errors.splitlines()
    assert line.startswith("no progress for 2") and " while waiting for the data of step " in line
    assert line.endswith(f": the stacks of all threads are in {stacks}")
    assert not text and not any("Traceback" in other or "no progress" in other for other in before)
    assert "gated.py" in stacks.read_text() and "in read" in stacks.read_text()
    gated.gate.touch()
    ((text, errors),) = finished(gated.train(workdir))
    assert "found a checkpoint of step " in errors and "trained  30 steps" in text


def test_a_start_that_waits_for_others_is_watched_too(tmp_path, monkeypatch, capfd):
    """Here the end of the process is the end of the wait."""
    ended, by_first = threading.Event(), train.by_first
    monkeypatch.setattr(train, "by_first", lambda action: ended.wait(60) and by_first(action))
    monkeypatch.setattr(train, "Watchdog", functools.partial(Watchdog, end=ended.set))
    monkeypatch.setattr(loop, "Watchdog", lambda timeout, dump: Watchdog(0.0))
    flags = [
        "--config.training.hang_timeout=0.5",
        "--config.training.num_steps=10",
        "--config.training.trackers=()",
    ]
    config = tiny.config_file(tiny.TOY, tmp_path)
    assert main(["train", f"--config={config}", f"--workdir={tmp_path / 'run'}", *flags]) == 0
    errors = capfd.readouterr().err
    assert re.search(r"no progress for \d+ s while starting", errors) and "in train_in" in errors


@pytest.mark.slow
def test_a_second_run_in_a_folder_is_a_usage_error_and_the_first_does_not_notice(tmp_path):
    gated, workdir = Gated(tmp_path), tmp_path / "run"
    first = gated.train(workdir)
    try:
        deadline = time.monotonic() + 120
        while not (workdir / "checkpoints" / "2").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        before = (workdir / "config.json").read_bytes(), (workdir / "run.lock.json").read_bytes()
        ((text, errors),) = finished(gated.train(workdir, "--config.optim.lr=0.5"), code=2)
        assert first[0].poll() is None, "the first run ended before the second came"
        assert errors.startswith(
            f"score-sde train: {workdir} is being written by process {first[0].pid} on "
        )
        assert not text and errors.count("\n") == 1
        assert (
            (workdir / "config.json").read_bytes(),
            (workdir / "run.lock.json").read_bytes(),
        ) == before
        gated.gate.touch()
        finished(first)
    finally:
        first[0].kill()
    finished(gated.train(tmp_path / "alone"))
    disturbed, alone = load(workdir), load(tmp_path / "alone")
    assert disturbed.step == alone.step == 30
    jax.tree.map(np.testing.assert_array_equal, disturbed.params, alone.params)
