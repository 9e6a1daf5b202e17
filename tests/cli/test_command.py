"""The installed command itself, in a process of its own and from another folder."""

import sys
from pathlib import Path

import pytest
import tiny
from launched import run_in

COMMAND = Path(sys.executable).parent / "score-sde"


def test_the_module_is_the_command(tmp_path):
    done = run_in(tmp_path, sys.executable, "-m", "score_sde", "trian")
    assert (done.returncode, done.stdout) == (2, "")
    commands = "train, sample, likelihood, train-dequantizer, encode, interpolate, import, export"
    commands += ", launch, reconstruct-ema, plot"
    assert (
        done.stderr
        == f"score-sde: unknown command 'trian', did you mean 'train'?; commands: {commands}\n"
    )


@pytest.mark.skipif(
    not COMMAND.exists(), reason="the package is not installed beside this interpreter"
)
def test_a_misspelt_key_from_another_folder(tmp_path):
    done = run_in(
        tmp_path,
        COMMAND,
        "train",
        "--config=digits/vp",
        "--workdir=runs/x",
        "--config.training.num_step=3",
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        "score-sde train: training has no key 'num_step', did you mean 'num_steps'?; keys: "
    )
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_damaged_checkpoint_is_answered_in_one_line(tmp_path):
    workdir = tiny.copy_of(tiny.toy_run(), tmp_path)
    for path in (workdir / "checkpoints" / "30" / "ema_params").rglob("d/*"):
        path.write_bytes(path.read_bytes()[:10])
    done = run_in(tmp_path, sys.executable, "-m", "score_sde", "sample", "--workdir=toy")
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot read the checkpoint" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_code_beside_which_the_command_is_run_can_be_named(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\n"
        "from score_sde import VPSDE\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Mine(VPSDE):\n"
        "    pass\n"
    )
    tiny.config_file(tiny.TOY, tmp_path)
    flags = [
        "--config=experiment.py",
        "--workdir=run",
        "--config.sde.name=mine:Mine",
        "--config.training.num_steps=2",
    ]
    command = COMMAND if COMMAND.exists() else (sys.executable, "-m", "score_sde")
    done = run_in(tmp_path, *([command] if isinstance(command, Path) else command), "train", *flags)
    assert done.returncode == 0, done.stderr
    assert "2 steps" in done.stdout and (tmp_path / "run" / "checkpoints" / "2").is_dir()
