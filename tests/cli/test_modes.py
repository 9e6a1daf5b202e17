"""Commands in the modes of JAX that environment variables turn on."""

import os
import subprocess
import sys

import pytest
import tiny

pytestmark = pytest.mark.slow

MODES = {
    "JAX_DEBUG_NANS": "1",
    "JAX_DEBUG_INFS": "1",
    "JAX_ENABLE_CHECKS": "1",
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_ENABLE_X64": "1",
}

COMMANDS = {
    "sample": (),
    "likelihood": (),
    "encode": (),
    "interpolate": (),
    "export": ("--output={folder}/model",),
    "plot": (),
}
"""The flags of every command that reads a workdir; ``{folder}`` is an empty folder."""


def run(variable, *argv):
    """The errors of a command in a process of its own, which must succeed."""
    found = subprocess.run(
        [sys.executable, "-m", "score_sde", *argv],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", variable: MODES[variable]},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert found.returncode == 0, found.stderr[-3000:]


@pytest.mark.parametrize("variable", MODES)
def test_training_works_in_each_mode(variable, tmp_path):
    file = tiny.config_file(tiny.TOY, tmp_path)
    steps = ("--config.training.num_steps=3", "--config.training.eval_every=3")
    run(variable, "train", f"--config={file}", f"--workdir={tmp_path / 'run'}", *steps)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_works_with_64_bits(command, tmp_path):
    workdir = tiny.copy_of(tiny.toy_run(), tmp_path)
    flags = (flag.format(folder=tmp_path) for flag in COMMANDS[command])
    run("JAX_ENABLE_X64", command, f"--workdir={workdir}", *flags)


def test_a_model_trained_with_64_bits_is_sampled_without(tmp_path):
    file, workdir = tiny.config_file(tiny.TOY, tmp_path), tmp_path / "run"
    few = "--config.training.num_steps=3"
    run("JAX_ENABLE_X64", "train", f"--config={file}", f"--workdir={workdir}", few)
    assert "12 of Heun" in tiny.run("sample", f"--workdir={workdir}")
