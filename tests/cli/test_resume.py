"""Training again on a workdir: it resumes, is complete, or is a usage error where another
model would be trained.
"""

import json
import signal

import pytest
import tiny

from score_sde.cli import main
from score_sde.runtime.signals import StopRequest


@pytest.fixture
def workdir(tmp_path):
    tiny.config_file(tiny.TOY, tmp_path)
    return tiny.copy_of(tiny.toy_run(), tmp_path)


def flags(workdir):
    return "train", f"--config={workdir.parent / 'experiment.py'}", f"--workdir={workdir}"


CHANGES = [
    ("sde.beta_max=10.0", "sde.beta_max=20.0 where this config has 10.0"),
    ("sde.name=subvp", "sde.name='vp' where this config has 'subvp'"),
    ("sde.name=ve", "sde.name='vp' where this config has 've'"),
    ("model.hidden_sizes=(16,)", "model.hidden_sizes=[8] where this config has [16]"),
    ("model.activation=relu", "model.activation=None where this config has 'relu'"),
    ("parameterization.name=v", "parameterization.name='noise' where this config has 'v'"),
    ("data.num_examples=130", "data.num_examples=120 where this config has 130"),
    ("data.source=moons", "data.source='mixture' where this config has 'moons'"),
    (
        "objective.weighting=likelihood",
        "objective.weighting='variance' where this config has 'likelihood'",
    ),
    ("seed=1", "seed=0 where this config has 1"),
    (
        "training.averages=('power:0.1',)",
        "training.averages=[] where this config has ['power:0.1']",
    ),
]


@pytest.mark.parametrize(("override", "message"), CHANGES)
def test_another_model_is_a_usage_error_and_nothing_is_touched(
    override, message, workdir, usage_error
):
    before = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
    line = usage_error(*flags(workdir), f"--config.{override}")
    assert f"{workdir} holds a run with {message}: choose another workdir" in line
    assert {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()} == before


def test_other_data_behind_the_same_name_are_usage_errors(tmp_path, usage_error):
    import numpy as np

    text = tiny.TOY.replace('"mixture", "num_examples": 120', '"npy:points.npy"').replace("30", "1")
    points = tmp_path / "points.npy"
    file = tiny.config_file(text.replace("points.npy", str(points)), tmp_path)
    np.save(points, np.random.default_rng(0).normal(size=(40, 2)))
    tiny.run("train", f"--config={file}", f"--workdir={tmp_path / 'run'}")
    np.save(points, np.zeros((40, 3)))
    line = usage_error("train", f"--config={file}", f"--workdir={tmp_path / 'run'}")
    assert "example.shape=[2] where this config has [3]" in line


def test_lengths_and_the_rest_may_change(workdir):
    changes = (
        "training.num_steps=32",
        "optim.lr=0.01",
        "sampling.num_steps=5",
        "eval.batch_size=4",
    )
    text = tiny.run(*flags(workdir), *(f"--config.{change}" for change in changes))
    assert "found a checkpoint of step 30, resuming until step 32" in text
    assert "trained  32 steps" in text
    saved = json.loads((workdir / "config.json").read_text())
    assert (saved["training"]["num_steps"], saved["sampling"]["num_steps"]) == (32, 5)
    steps = [
        json.loads(line)["step"] for line in (workdir / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps == sorted(steps) and steps[-1] == 32


def test_a_complete_run_says_so(workdir):
    before = sorted((workdir / "checkpoints").iterdir())
    assert "found a checkpoint of step 30, complete" in tiny.run(*flags(workdir))
    assert sorted((workdir / "checkpoints").iterdir()) == before


def test_a_usage_error_leaves_the_config_of_the_workdir(workdir, usage_error):
    before = (workdir / "config.json").read_bytes()
    usage_error(*flags(workdir), "--config.training.batch_size=9")
    usage_error(*flags(workdir), "--config.training.num_steps=-1")
    assert (workdir / "config.json").read_bytes() == before


class Asked(StopRequest):
    """A request that has come before the first step."""

    def __enter__(self):
        self.signum = signal.SIGTERM
        return self


def test_a_run_that_is_asked_to_stop_ends_with_75_and_goes_on(workdir, monkeypatch, capsys):
    longer = (*flags(workdir), "--config.training.num_steps=33")
    with monkeypatch.context() as patch, tiny.quick_compilation():
        patch.setattr("score_sde.cli.train.StopRequest", Asked)
        assert main(longer) == 75
    assert "stopped by SIGTERM at step 30 of 33: saved in " in capsys.readouterr().err
    assert "found a checkpoint of step 30, resuming until step 33" in tiny.run(*longer)
