"""A run that begins with a trained model, and one that resumes without its config."""

import json

import jax
import numpy as np
import pytest
import tiny
from foreign_code import NAMES, witness
from launched import finished, started, together

from score_sde import load
from score_sde.training.checkpoints.sampling import restore_for_sampling

QUICK = ("--config.training.num_steps=1", "--config.training.eval_every=0", "--config.optim.lr=0")
"""One update that changes nothing, so that the parameters at the end are the first ones."""


def params_of(workdir, average=None):
    found = restore_for_sampling(workdir / "checkpoints", average=average)
    return found.step, found.ema_params


def assert_same(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The toy model as a folder of its own; to be read only."""
    folder = tmp_path_factory.mktemp("exported") / "model"
    load(tiny.toy_run()).save(folder)
    return folder


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("flags", [(), ("--overwrite",), ("--config=toy/mixture",)])
def test_no_run_begins_in_the_folder_of_a_model(flags, exported, usage_error):
    before = contents(exported)
    line = usage_error("train", f"--workdir={exported}", *flags)
    assert "holds an exported or imported model: to fine-tune it, train in another" in line
    assert f"--workdir=NEW --init_from={exported}" in line
    assert contents(exported) == before


def test_no_run_begins_in_the_folder_of_a_model_of_diffusers(tmp_path, usage_error):
    (tmp_path / "run" / "unet_ema").mkdir(parents=True)
    (tmp_path / "run" / "unet_ema" / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    line = usage_error("train", f"--workdir={tmp_path / 'run'}", "--config=toy/mixture")
    assert "holds a model of diffusers: to fine-tune it, train in another folder" in line


@pytest.mark.parametrize("average", [None, pytest.param("none", marks=pytest.mark.slow)])
def test_a_run_begins_with_all_parameters_of_another(average, tmp_path, usage_error):
    """Without a config, by that of the model; and all averages begin with them too."""
    flags = (f"--init_from={tiny.toy_run()}", f"--workdir={tmp_path / 'run'}")
    flags += () if average is None else (f"--average={average}",)
    shown = tiny.run("train", *flags, *QUICK, "--config.training.averages=('power:0.1',)")
    assert f"beginning with the parameters of {tiny.toy_run()}, step 30" in shown
    step, expected = params_of(tiny.toy_run(), average)
    assert step == 30
    for name in (None, "none", "power:0.1"):
        step, found = params_of(tmp_path / "run", name)
        assert step == 1
        assert_same(found, expected)
    recorded = json.loads((tmp_path / "run" / "init_from.json").read_text())
    assert recorded["path"] == str(tiny.toy_run()) and recorded["step"] == 30
    assert recorded["average"] == average
    other = jax.tree.leaves(params_of(tiny.toy_run(), None if average else "none")[1])
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(expected), other, strict=True))
    # Resumed with the flags or without, but not from another model.
    for same in (flags, (flags[1],)):
        shown = tiny.run("train", *same)
        assert "found a checkpoint of step 1, complete" in shown and "beginning" not in shown
    line = usage_error("train", flags[1], f"--init_from={tmp_path}")
    assert f"has begun with {tiny.toy_run()}" in line and "resume it without init_from" in line
    line = usage_error("train", flags[1], f"--init_from={tiny.toy_run()}", "--average=power:1")
    assert f"has begun with {tiny.toy_run()}" in line


def test_a_run_begins_with_an_exported_model(exported, tmp_path):
    flags = (f"--init_from={exported}", f"--workdir={tmp_path / 'run'}")
    file = tiny.config_file(tiny.TOY, tmp_path)
    shown = tiny.run("train", f"--config={file}", *flags, *QUICK, "--config.sde.beta_max=10.0")
    assert f"warning: {exported} was trained with sde.beta_max=20.0, this config has 10.0" in shown
    assert_same(params_of(tmp_path / "run")[1], load(exported).params)


@pytest.mark.slow
def test_a_run_that_was_interrupted_before_its_first_checkpoint_begins_alike(
    exported, tmp_path, usage_error
):
    workdir = f"--workdir={tmp_path / 'run'}"
    tiny.run("train", f"--init_from={exported}", workdir, *QUICK)
    first = params_of(tmp_path / "run")[1]
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.rename(tmp_path / path.name)
    tiny.run("train", workdir)
    assert_same(params_of(tmp_path / "run")[1], first)
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.rename(tmp_path / f"second{path.name}")
    record = tmp_path / "run" / "init_from.json"
    text = record.read_text()
    record.write_text(text.replace('"fingerprint": "', '"fingerprint": "0'))
    assert f"{exported} has changed since the run has begun with it" in usage_error(
        "train", workdir
    )
    record.write_text("{}")
    assert "init_from.json is damaged" in usage_error("train", workdir)


def test_what_cannot_be_a_beginning(exported, tmp_path, usage_error):
    file = tiny.config_file(tiny.TOY, tmp_path)
    flags = (f"--config={file}", f"--workdir={tmp_path / 'run'}")
    line = usage_error(
        "train", *flags, f"--init_from={exported}", "--config.model.hidden_sizes=(16,)"
    )
    assert (
        f"{exported}: model does not fit the trained parameters: condition_0/kernel is (4, 8) "
        "in the file and (4, 16) in the network; " in line
    )
    assert line.count(" in the network") == 3 and line.endswith("; and 1 more")
    assert "no such file or folder" in usage_error("train", *flags, "--init_from=none")
    assert "no checkpoint in" in usage_error("train", *flags, f"--init_from={tmp_path}")
    line = usage_error("train", *flags, f"--init_from={exported}", "--average=none")
    assert "has only one average of the parameters and no 'none'" in line
    line = usage_error("train", *flags, "--average=none")
    assert "average='none' is of the model of init_from, which is missing" in line
    assert not (tmp_path / "run").exists()
    line = usage_error(
        "train", f"--config={file}", f"--workdir={tiny.toy_run()}", f"--init_from={exported}"
    )
    assert "has begun with random parameters: resume it without init_from" in line


def test_without_a_config_a_run_resumes_by_its_own(tmp_path, usage_error):
    workdir = tiny.copy_of(tiny.toy_run(), tmp_path)
    flags = ("train", f"--workdir={workdir}")
    shown = tiny.run(*flags, "--config.training.num_steps=31")
    assert "found a checkpoint of step 30, resuming until step 31" in shown
    assert "found a checkpoint of step 31, complete" in tiny.run(*flags)
    (workdir / "config.json").write_text("{")  # and by that of its checkpoint
    assert "found a checkpoint of step 31, complete" in tiny.run(*flags)
    line = usage_error(*flags, "--config.sde.beta_max=10.0")
    assert "sde.beta_max=20.0 where this config has 10.0" in line
    for name, message in (
        ("none", "no such file or folder: "),
        ("run.py", "--config is missing: "),
    ):
        (tmp_path / "run.py").touch()
        line = usage_error(
            "train", f"--workdir={tmp_path / 'new'}", f"--init_from={tmp_path / name}"
        )
        assert f"{message}{tmp_path / name}" in line
    line = usage_error("train", f"--workdir={tmp_path / 'new'}")
    assert "--config is missing: for example --config=configs/digits/vp.py" in line


def test_code_in_a_saved_config_does_not_run(tmp_path, monkeypatch, usage_error):
    foreign = witness(tmp_path / "modules", monkeypatch)
    workdir = tmp_path / "run"
    workdir.mkdir()
    config = json.loads((tiny.toy_run() / "config.json").read_text())
    config["objective"]["weighting"] = NAMES[0]
    (workdir / "config.json").write_text(json.dumps(config))
    line = usage_error("train", f"--workdir={workdir}")
    assert f"{workdir} names code: objective.weighting='{NAMES[0]}'" in line
    assert "--allow_code=foreign_module" in line and not foreign.found()
    line = usage_error("train", f"--workdir={workdir}", "--config=toy/mixture", "--allow_code=os")
    assert "--allow_code is for a saved config" in line


@pytest.mark.slow
def test_two_processes_begin_with_a_model_and_end_together_where_one_cannot_read_it(
    exported, tmp_path
):
    run = tmp_path / "run"
    finished(started("train", run, f"--init_from={exported}", *QUICK, processes=2))
    assert_same(params_of(run)[1], load(exported).params)
    assert "complete" in finished(started("train", run, *QUICK, processes=2))[0][1]
    code = f"""
import sys, jax
from score_sde.cli import main
from score_sde.experiments import initial
read = initial.trained_params
def one_fails(*arguments, **options):
    if jax.process_index() == 1:
        raise OSError("not here")
    return read(*arguments, **options)
initial.trained_params = one_fails
sys.exit(main(["train", "--workdir={tmp_path / "other"}", "--init_from={exported}"]))
"""
    first, second = finished(together("-c", code, processes=2), code=2)
    assert "another process has failed: its message says why" in first[1]
    assert "not here" in second[1]
