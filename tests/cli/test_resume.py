"""Training again on a workdir: it resumes, is complete, or is a usage error where another
model would be trained.
"""

import json
import signal

import numpy as np
import pytest
import tiny

from score_sde.cli import main
from score_sde.experiments.builders import build
from score_sde.experiments.resume import check_resumes
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
    ("model.activation=relu", "model.activation='silu' where this config has 'relu'"),
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


SAME = {
    "data": {"flip": False, "standardize": False, "centered": True, "noise": 0.1, "num_modes": 8},
    "sde": {"beta_min": 0.1, "beta_max": 20},
    "model": {"activation": "silu", "hidden_sizes": [8], "dim": None},
    "parameterization": {"time_label": "log_noise_to_signal"},
    "objective": {
        "weighting": {"name": "variance"},
        "condition_dropout": 0.0,
        "time_sampling": {"name": "uniform"},
    },
    "training": {"averages": ()},
}
"""Defaults written out, and other texts of the same values."""


@pytest.mark.parametrize(
    ("section", "key"), [(section, key) for section, keys in SAME.items() for key in keys]
)
def test_another_text_of_the_same_config_resumes(section, key):
    config = tiny.config_of(tiny.TOY)
    with config.ignore_type():
        config.update({section: {key: SAME[section][key]}})
    with tiny.abstract_init():
        experiment = build(config)
    check_resumes(tiny.toy_run(), experiment.model.saved_config, experiment.source)


def points_file(path, seed=0):
    np.save(path, np.random.default_rng(seed).normal(size=(40, 2)).astype(np.float32))
    return path


@pytest.fixture
def run_on_points(tmp_path):
    """A run of one step on ``a.npy``: its config file and its workdir."""
    text = tiny.TOY.replace('"mixture", "num_examples": 120, "seed": 1', '"npy:POINTS"')
    text = text.replace("POINTS", str(points_file(tmp_path / "a.npy"))).replace("30,", "1,")
    file = tiny.config_file(text.replace('"eval_every": 10', '"eval_every": 0'), tmp_path)
    tiny.run("train", f"--config={file}", f"--workdir={tmp_path / 'run'}")
    return f"--config={file}", f"--workdir={tmp_path / 'run'}"


def test_the_same_data_elsewhere_resume_and_other_data_do_not(
    run_on_points, tmp_path, monkeypatch, usage_error
):
    points_file(tmp_path / "b.npy")
    points_file(tmp_path / "c.npy", seed=1)
    monkeypatch.chdir(tmp_path)
    line = usage_error("train", *run_on_points, "--config.data.source=npy:c.npy")
    assert f"a.npy' where this config has 'npy:{tmp_path}/c.npy': choose another workdir" in line
    line = usage_error("train", *run_on_points, "--config.data.test_fraction=0.2")
    assert "data.test_fraction=0.1 where this config has 0.2" in line
    same = ("./a.npy", "b.npy")
    for name in same:
        shown = tiny.run("train", *run_on_points, f"--config.data.source=npy:{name}")
        assert "found a checkpoint of step 1, complete" in shown
    (tmp_path / "a.npy").unlink()  # and what the checkpoint says of its data suffices
    tiny.run("train", *run_on_points, "--config.data.source=npy:b.npy")


def test_the_data_of_a_run_without_their_fingerprint_are_read_again(
    run_on_points, tmp_path, monkeypatch, usage_error
):
    monkeypatch.setattr("score_sde.experiments.resume.newest_about", lambda folder: {})
    moved = f"--config.data.source=npy:{points_file(tmp_path / 'b.npy')}"
    tiny.run("train", *run_on_points, moved)
    (tmp_path / "a.npy").unlink()
    assert "b.npy': choose another workdir" in usage_error("train", *run_on_points, moved)


OPTIMIZERS = {
    "optim.warmup=0": "its state is carried over",
    "optim.name=lion": "10 of the 11 arrays of its state start anew",
}


@pytest.mark.parametrize(
    "override",
    ["optim.warmup=0", pytest.param("optim.name=lion", marks=pytest.mark.slow)],
)
def test_another_optimizer_takes_over(override, workdir):
    longer = (*flags(workdir), "--config.training.num_steps=31")
    shown = tiny.run(*longer, f"--config.{override}")
    assert "found a checkpoint of step 30, resuming until step 31" in shown
    assert shown.count("the optimizer has changed") == 1
    assert f"the optimizer has changed: {OPTIMIZERS[override]}; parameters" in shown


def test_other_data_behind_the_same_name_are_usage_errors(tmp_path, usage_error):
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
