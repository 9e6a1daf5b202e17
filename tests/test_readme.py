"""The README keeps its word: its Python runs, its commands and files exist."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import tiny

from score_sde.cli.config_file import read_config
from score_sde.cli.main import VERBS

README = Path(__file__).parent.parent / "README.md"

pytestmark = pytest.mark.skipif(not README.exists(), reason="not in a checkout")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_script_of_a_user_draws_samples():
    scripts = [block for block in blocks("python") if "ss.load(" in block]
    assert scripts
    for script in scripts:
        assert len(script.strip().splitlines()) <= 6
        names = {}
        with tiny.quick_compilation():
            exec(re.sub(r'ss\.load\(".*?"\)', f"ss.load({str(tiny.toy_run())!r})", script), names)
        images = np.asarray(names["images"])
        assert images.shape == (64, 2) and np.isfinite(images).all()


@pytest.mark.slow
def test_the_other_python_runs():
    others = [block for block in blocks("python") if "ss.load(" not in block]
    for block in others:
        names = {}
        with tiny.quick_compilation():
            exec(block, names)
        if "get_config" in names:
            assert names["get_config"]().sde.name == "ve"
        if "z" in names:
            assert np.isfinite(names["z"]).all()


def test_the_commands_are_known_and_their_configs_exist():
    text = README.read_text(encoding="utf-8")
    commands = re.findall(r"score-sde (\w+)((?: --[\w.]+=\S+?)*)[ `\n]", text)
    assert {verb for verb, _ in commands} <= {*VERBS, "VERB"} and len(commands) >= 4
    for _, flags in commands:
        for flag in shlex.split(flags):
            name, _, value = flag.removeprefix("--").partition("=")
            if name == "config":
                read_config(value)


def test_the_files_it_names_exist():
    text = README.read_text(encoding="utf-8")
    for name in re.findall(r"`(?:\./)?((?:scripts|configs|tests|score_sde)/[\w/.]+)`", text):
        assert (README.parent / name).exists(), name
    for name in re.findall(r"\]\(((?!http)[^)#]+)\)", text):
        assert (README.parent / name).exists(), name
