"""Workdirs that a command cannot work with, and overrides that do not go with a trained
model: usage errors.
"""

import os

import pytest
import tiny

from score_sde.experiments.loading import load

COMMANDS = ("sample", "likelihood", "encode", "interpolate", "plot")


def listing(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_workdir_that_is_none(command, tmp_path, monkeypatch, usage_error):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "runs" / "digits" / "checkpoints").mkdir(parents=True)
    assert "no such workdir: runs/digit, did you mean 'runs/digits'?" in usage_error(
        command, "--workdir=runs/digit"
    )
    assert "no such workdir: zzz" in usage_error(command, "--workdir=zzz")
    assert "no checkpoints in file: train with `score-sde train" in usage_error(
        command, "--workdir=file"
    )
    assert "no checkpoints in runs: train with `score-sde train" in usage_error(
        command, "--workdir=runs"
    )
    line = usage_error(command, "--workdir=runs/digits")
    assert "no checkpoint in " in line and "train a model in workdir=" in line


@pytest.mark.parametrize("command", ["sample", "likelihood", "encode", "interpolate"])
def test_flags_of_a_trained_model(command, usage_error):
    workdir = f"--workdir={tiny.toy_run()}"
    before = listing(tiny.toy_run())
    assert "--workdir is missing: for example --workdir=runs/digits" in usage_error(command)
    assert "--workdir has no value" in usage_error(command, "--workdir=")
    assert "no checkpoint of step 7 in " in usage_error(command, workdir, "--checkpoint=7")
    assert "there are [20, 30]" in usage_error(command, workdir, "--checkpoint=7")
    for step in ("abc", "-1", "1.5"):
        line = usage_error(command, workdir, f"--checkpoint={step}")
        assert f"--checkpoint={step} must be the step of a checkpoint" in line
    assert "unknown flag --sede, did you mean 'seed'?" in usage_error(command, workdir, "--sede=1")
    assert "unexpected argument '20'" in usage_error(command, workdir, "20")
    for seed in ("-1", "x", "4294967296"):
        assert f"--seed={seed} must be an integer in the range [0, 4294967295]" in usage_error(
            command, workdir, f"--seed={seed}"
        )
    assert "the config is saved with the model" in usage_error(
        command, workdir, "--config=digits/vp"
    )
    assert listing(tiny.toy_run()) == before


@pytest.mark.parametrize("inside", ["checkpoints", "checkpoints/20"])
def test_results_are_never_written_among_the_checkpoints(inside, usage_error):
    line = usage_error("sample", f"--workdir={tiny.toy_run() / inside}")
    assert f"use --workdir={tiny.toy_run()}, with --checkpoint=STEP for" in line


OVERRIDES = [
    (
        "sample",
        "samplin.num_steps=3",
        "the config has no section 'samplin', did you mean 'sampling'?",
    ),
    (
        "sample",
        "sampling.num_step=3",
        "sampling 'heun' has no key 'num_step', did you mean 'num_steps'?",
    ),
    ("sample", "sampling.name=huen", "unknown sampling 'huen', did you mean 'heun'?"),
    ("sample", "sampling.num_steps=x", "--config.sampling.num_steps=x must be an integer"),
    (
        "sample",
        "model.hidden_sizes=(16,)",
        "model does not fit the trained parameters: condition_0/kernel is (4, 8)",
    ),
    ("sample", "model.name=unet", "model: a U-Net takes images"),
    (
        "sample",
        "data.source=digits",
        "the data have (shape, levels) ((8, 8, 1), 17), the model was trained on",
    ),
    (
        "sample",
        "data={'source':'digits'}",
        "the data have (shape, levels) ((8, 8, 1), 17), the model was trained on",
    ),
    ("likelihood", "eval.t_min=3.0", "eval.t_min=3.0 must be less than sde.t_max=1.0"),
    ("likelihood", "eval.max_examples=-1", "eval.max_examples=-1 must be at least 1"),
    (
        "likelihood",
        "eval.divergence.name=hutchison",
        "unknown eval.divergence 'hutchison', did you mean 'hutchinson'?",
    ),
    ("likelihood", "data={'source':'npy:none.npy'}", "no such file: none.npy"),
]


@pytest.mark.parametrize(("command", "override", "message"), OVERRIDES)
def test_overrides_of_a_trained_model(command, override, message, usage_error):
    before = listing(tiny.toy_run())
    assert message in usage_error(command, f"--workdir={tiny.toy_run()}", f"--config.{override}")
    assert listing(tiny.toy_run()) == before


def test_other_flags_of_a_command(usage_error):
    workdir = f"--workdir={tiny.toy_run()}"
    for count in ("0", "-3", "x", "2.5"):
        line = usage_error("sample", workdir, f"--num_samples={count}")
        assert f"--num_samples={count} must be an integer in the range [1, 2147483647]" in line
    assert "--split=tset must be test or train" in usage_error(
        "likelihood", workdir, "--split=tset"
    )
    assert "--workdir and --config exclude each other" in usage_error(
        "plot", workdir, "--config=digits/vp"
    )
    assert "no config file 'digits/vpp', did you mean 'digits/vp'?" in usage_error(
        "plot", "--config=digits/vpp"
    )
    assert "unknown sde 'vee', did you mean 've'?" in usage_error(
        "plot", "--config=digits/vp", "--config.sde.name=vee"
    )


def test_a_file_where_a_folder_of_results_is_needed(tmp_path, usage_error):
    workdir = tiny.copy_of(tiny.toy_run(), tmp_path)
    (workdir / "samples").touch()
    assert "samples is a file where a folder is needed" in usage_error(
        "sample", f"--workdir={workdir}"
    )
    assert "is a file where a folder is needed" in usage_error(
        "plot", "--config=digits/vp", f"--output={workdir / 'samples'}"
    )
    (workdir / "metrics.jsonl").unlink()
    assert "No such file or directory" in usage_error("plot", f"--workdir={workdir}")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_in_which_nothing_can_be_written(command, monkeypatch, usage_error):
    monkeypatch.setattr(
        os, "access", lambda path, mode: False
    )  # as root, every folder can be written in
    assert f"cannot write in {tiny.toy_run()}" in usage_error(
        command, f"--workdir={tiny.toy_run()}"
    )


def damage_parameters(checkpoint):
    for path in [
        *(checkpoint / "ema_params").rglob("d/*"),
        *(checkpoint / "ema_params").glob("manifest*"),
    ]:
        path.write_bytes(path.read_bytes()[:10])


def damage_config(checkpoint):
    (checkpoint / "config" / "metadata").write_text("{bad")


def damage_seal(checkpoint):
    (checkpoint / "seal" / "metadata").unlink()


def damage_state(checkpoint):
    for path in (checkpoint / "state").rglob("d/*"):
        path.write_bytes(path.read_bytes()[:10])


@pytest.mark.parametrize("damage", [damage_parameters, damage_config])
def test_a_damaged_checkpoint(damage, tmp_path, usage_error):
    workdir = tiny.copy_of(tiny.toy_run(), tmp_path)
    damage(workdir / "checkpoints" / "30")
    for command in COMMANDS:
        if command == "plot" and damage is damage_parameters:
            continue  # it draws the SDE and the losses, for which it needs no parameters
        line = usage_error(command, f"--workdir={workdir}")
        assert (
            f"cannot read the checkpoint {workdir}/checkpoints/30, remove it to use an earlier one"
            in line
        )
    assert load(workdir, step=20).step == 20


def test_plot_needs_no_parameters(tmp_path):
    workdir = tiny.copy_of(tiny.toy_run(), tmp_path)
    damage_parameters(workdir / "checkpoints" / "30")
    tiny.run("plot", f"--workdir={workdir}")
    assert (workdir / "sde.png").exists() and (workdir / "loss.png").exists()


def test_a_wrong_flag_is_found_before_parameters_are_read(tmp_path, usage_error):
    workdir = tiny.copy_of(tiny.toy_run(), tmp_path)
    damage_parameters(workdir / "checkpoints" / "30")
    for command in ("sample", "likelihood", "encode", "interpolate"):
        line = usage_error(command, f"--workdir={workdir}", "--config.sampling.num_steps=x")
        assert "--config.sampling.num_steps=x must be an integer" in line


@pytest.mark.parametrize(
    "damage",
    [
        damage_parameters,
        *(
            pytest.param(damage, marks=pytest.mark.slow)
            for damage in (damage_config, damage_state, damage_seal)
        ),
    ],
)
def test_training_moves_a_damaged_checkpoint_aside_and_goes_on_from_the_one_before(
    damage, tmp_path
):
    workdir = tiny.copy_of(tiny.toy_run(), tmp_path)
    damage(workdir / "checkpoints" / "30")
    file = tiny.config_file(tiny.TOY, tmp_path)
    shown = tiny.run("train", f"--config={file}", f"--workdir={workdir}")
    aside = workdir / "checkpoints" / "damaged" / "30"
    assert (
        f"the checkpoint {workdir}/checkpoints/30 is damaged: " in shown
        and f": moved to {aside}\n" in shown
    )
    assert "found a checkpoint of step 20, resuming until step 30" in shown
    assert aside.is_dir() and load(workdir).step == 30
