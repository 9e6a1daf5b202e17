"""The installation of the scripts: pinned, by uv where there is one, else by pip."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "venv.sh"

pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="not in a checkout")


def command(path, says):
    """A command that prints its arguments after a word."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {says} $*\n")
    path.chmod(0o755)


@pytest.mark.parametrize("there_is_uv", [True, False])
@pytest.mark.parametrize("writes_byte_code", [True, False])
def test_it_installs_by_uv_or_by_pip_what_is_pinned(tmp_path, there_is_uv, writes_byte_code):
    command(tmp_path / ".venv/bin/python", "python")
    (tmp_path / "commands").mkdir()
    if there_is_uv:
        command(tmp_path / "commands/uv", "uv")
    said = subprocess.run(
        [shutil.which("bash"), "-euc", f'. "{SCRIPT}"; install_project ".[test]"'],
        cwd=tmp_path,
        env={
            "PATH": str(tmp_path / "commands"),
            "PYTHONDONTWRITEBYTECODE": "" if writes_byte_code else "1",
        },
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert said[:3] == (["uv", "pip", "install"] if there_is_uv else ["python", "-m", "pip"])
    assert said[-4:] == ["-c", "scripts/constraints.txt", "-e", ".[test]"]
    assert (".venv/bin/python" in said) == there_is_uv
    assert ("--no-compile" in said) == writes_byte_code
    assert ("--compile" in said) != writes_byte_code


def test_it_says_which_pythons_it_needs(tmp_path):
    command(tmp_path / "commands/old", "Python 3.9")
    (tmp_path / "commands/old").write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.9.18\nexit 1')
    done = subprocess.run(
        [shutil.which("bash"), "-euc", f'. "{SCRIPT}"; install_project .'],
        cwd=tmp_path,
        env=os.environ | {"PYTHON": str(tmp_path / "commands/old")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith("score_sde needs Python 3.11, 3.12 or 3.13; ")
    assert "is Python 3.9.18: set PYTHON=python3.x" in done.stderr
