"""Averages of a run on the command line: chosen for sampling, and made from snapshots."""

import re

import jax
import numpy as np
import pytest
import tiny

from score_sde.experiments.loading import load
from score_sde.export.folder import is_exported
from score_sde.training.snapshots import FOLDER

OVERRIDES = (
    "--config.training.averages=('power:0.05','power:0.1','power:0.15')",
    "--config.training.snapshot_every=5",
)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run with three averages; the snapshots of one of them are gone."""
    folder = tmp_path_factory.mktemp("run")
    file = tiny.config_file(tiny.TOY, folder)
    tiny.run("train", f"--config={file}", f"--workdir={folder / 'toy'}", *OVERRIDES)
    for path in (folder / "toy" / FOLDER).glob("power_0.1_*"):
        path.unlink()
    return folder / "toy"


def distance(found, expected):
    found, expected = (
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(each)])
        for each in (found, expected)
    )
    return np.linalg.norm(found - expected)


def test_an_average_is_chosen_by_its_name(workdir, tmp_path):
    tracked = [load(workdir, average=f"power:{width}") for width in ("0.05", "0.1", "0.15")]
    assert (
        all(model.step == 30 for model in tracked)
        and load(workdir, step=20, average="power:0.1").step == 20
    )
    assert (
        distance(tracked[0].params, tracked[1].params) > 0
        and distance(tracked[0].params, load(workdir).params) > 0
    )
    tiny.run(
        "export", f"--workdir={workdir}", "--average=power:0.1", f"--output={tmp_path / 'model'}"
    )
    assert distance(load(tmp_path / "model").params, tracked[1].params) == 0


def test_an_average_that_was_tracked_is_made_again_from_the_snapshots_of_others(workdir, tmp_path):
    model = tmp_path / "model"
    text = tiny.run(
        "reconstruct-ema", f"--workdir={workdir}", "--sigma_rel=0.1", f"--output={model}"
    )
    assert "power:0.1 after step 30, from 12 snapshots" in text
    assert 0.0 < float(re.search(r"residual of its profile +(\S+) ", text)[1]) < 0.1
    direct, found = load(workdir, average="power:0.1"), load(model)
    assert is_exported(model) and found.step == 30 and found.config == direct.config
    others = [load(workdir, average=f"power:{width}").params for width in ("0.05", "0.15")]
    assert distance(found.params, direct.params) < 0.1 * min(
        distance(each, direct.params) for each in others
    )


def test_an_earlier_step_of_a_tracked_width_is_exact(workdir, tmp_path):
    flags = ("--sigma_rel=0.15", "--step=20", f"--output={tmp_path / 'model'}")
    assert "from 1 snapshots" in tiny.run("reconstruct-ema", f"--workdir={workdir}", *flags)
    assert (
        distance(
            load(tmp_path / "model").params, load(workdir, step=20, average="power:0.15").params
        )
        == 0
    )


REFUSED = [
    ((), "--sigma_rel is missing: for example --sigma_rel=0.12"),
    (("--sigma_rel=x",), "--sigma_rel=x must be a number"),
    (("--sigma_rel=0.1",), "--output is missing"),
    (
        ("--sigma_rel=0.5", "--output=out"),
        "must be from 1e-06 to 0.288675, the relative width of the mean over all updates",
    ),
    (
        ("--sigma_rel=0.1", "--step=31", "--output=out"),
        " must be from 1 to 30, the step of the last snapshot in ",
    ),
    (
        ("--sigma_rel=0.1", "--output=there"),
        "there is there already: choose another place, nothing is written over",
    ),
]


@pytest.mark.parametrize(("flags", "message"), REFUSED)
def test_what_cannot_be_reconstructed(flags, message, workdir, tmp_path, monkeypatch, usage_error):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").touch()
    assert message in usage_error("reconstruct-ema", f"--workdir={workdir}", *flags)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_run_without_snapshots_or_averages_says_so(tmp_path, usage_error):
    run = f"--workdir={tiny.toy_run()}"
    line = usage_error("reconstruct-ema", run, "--sigma_rel=0.1", f"--output={tmp_path / 'model'}")
    assert (
        f"no snapshots in {tiny.toy_run() / FOLDER}: train with training.averages, such as "
        "('power:0.05'," in line
    )
    assert "average='power:0.1' must be an average of the run: it has that of" in usage_error(
        "sample", run, "--average=power:0.1"
    )


def test_a_damaged_snapshot_is_a_usage_error_and_without_it_there_is_a_result(
    workdir, tmp_path, usage_error
):
    copy = tiny.copy_of(workdir, tmp_path)
    path = copy / FOLDER / "power_0.05_00000010.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    argv = (
        "reconstruct-ema",
        f"--workdir={copy}",
        "--sigma_rel=0.12",
        f"--output={tmp_path / 'model'}",
    )
    line = usage_error(*argv)
    assert f"{path} is damaged: " in line and line.endswith("; remove it to do without")
    path.unlink()
    assert "from 11 snapshots" in tiny.run(*argv)


@pytest.mark.slow
def test_a_reconstructed_model_is_drawn_from_and_has_no_other_average(
    workdir, tmp_path, usage_error
):
    model = tmp_path / "model"
    tiny.run("reconstruct-ema", f"--workdir={workdir}", "--sigma_rel=0.05", f"--output={model}")
    assert "12 of Heun" in tiny.run("sample", f"--workdir={model}")
    line = usage_error("sample", f"--workdir={model}", "--average=power:0.05")
    assert f"{model} has only one average of the parameters and no 'power:0.05'" in line
