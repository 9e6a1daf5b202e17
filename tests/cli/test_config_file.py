"""Config files: found by path or by name, and run."""

import json
import sys

import pytest
from ml_collections import ConfigDict

from score_sde.cli.command_flags import FLAGS
from score_sde.cli.config_file import read_config

GOOD = (
    "from score_sde.configs.default import get_default_config\ndef get_config(): return "
    "get_default_config()\n"
)


@pytest.mark.parametrize(
    "name", ["digits/vp", "digits/vp.py", "configs/digits/vp.py", "configs/digits/vp"]
)
def test_a_published_config_is_found_by_its_name_from_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_config(name).data.source == "digits"


def test_a_file_that_is_there_comes_before_a_published_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs" / "digits").mkdir(parents=True)
    (tmp_path / "configs" / "digits" / "vp.py").write_text("def get_config(): return {'seed': 5}")
    assert read_config("configs/digits/vp.py").seed == 5


def test_a_file_may_import_the_defaults_take_a_text_and_return_a_plain_dictionary(tmp_path):
    (tmp_path / "own.py").write_text(GOOD)
    (tmp_path / "text.py").write_text("def get_config(text='none'): return {'seed': text}")
    assert read_config(str(tmp_path / "own.py")).sde.name == "vp"
    assert read_config(f"{tmp_path}/text.py:some:text") == ConfigDict({"seed": "some:text"})
    assert read_config(f"{tmp_path}/text.py").seed == "none"


def test_a_file_is_read_anew_each_time_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "own.py"
    for seed in (1, 2):
        path.write_text(f"def get_config(): return {{'seed': {seed}}}")
        assert read_config(str(path)).seed == seed
    assert list(tmp_path.iterdir()) == [path]


def test_the_home_folder_may_be_written_as_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.py").write_text(GOOD)
    assert read_config("~/own.py").sde.name == "vp"


def test_a_dataclass_with_postponed_annotations(tmp_path):
    """Dataclasses look up the module of such annotations."""
    (tmp_path / "own.py").write_text(
        "from __future__ import annotations\nimport dataclasses\nfrom typing import ClassVar\n"
        "@dataclasses.dataclass\nclass Own:\n    seed: int = 7\n    other: ClassVar[int] = 3\n"
        "def get_config(): return dataclasses.asdict(Own())\n"
    )
    modules = set(sys.modules)
    assert read_config(str(tmp_path / "own.py")) == ConfigDict({"seed": 7})
    assert not [name for name in set(sys.modules) - modules if "own" in name]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("digits/vpp", ", did you mean 'digits/vp'?"),
        ("configs/digits/vpp.py", ", did you mean 'configs/digits/vp.py'?"),
        ("onw.py", ", did you mean 'own.py'?"),
        ("folder.py", ""),
        ("/", ""),
        (".", ""),
        ("..", ""),
        ("zzzzzzzz", ""),
    ],
)
def test_a_file_that_is_not_there(name, hint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(GOOD)
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(FileNotFoundError) as error:
        read_config(name)
    assert str(error.value) == f"no config file {name!r}{hint}"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (b"def get_config(:\n", ", line 1: invalid syntax"),
        (b"\x00\xff", ": source code "),
        (b"x = 1\n", ": it has no function get_config()"),
        (
            b"import no_such_module\n",
            ", line 1: ModuleNotFoundError: No module named 'no_such_module'",
        ),
        (b"\ndef get_config():\n  raise ValueError('two\\nlines')", ", line 3: two\nlines"),
        (
            b"def get_config():\n  return open('not there')",
            ", line 2: FileNotFoundError: [Errno 2] No such file",
        ),
        (b"def get_config(x):\n  return {}", ": TypeError: get_config() missing 1 required"),
        (b"def get_config():\n  return 1 / 0", ", line 2: ZeroDivisionError: division by zero"),
        (b"def get_config(): pass", ": get_config() returned None where a ConfigDict is expected"),
        (b"def get_config(): return 3", ": get_config() returned 3 where a ConfigDict is expected"),
        (
            GOOD.encode() + b"c = get_config()\nc.optimm.lr = 3",
            ", line 4: AttributeError: 'optimm'",
        ),
        (
            GOOD.encode() + b"c = get_config()\nc.optim.lr = 'x'",
            ", line 4: TypeError: Could not override field 'lr'",
        ),
    ],
)
def test_a_file_with_an_error_says_where_and_what(code, reason, tmp_path):
    path = tmp_path / "own.py"
    path.write_bytes(code)
    with pytest.raises(ValueError) as error:
        read_config(str(path))
    assert str(error.value).startswith(f"config file {path}{reason}")


def test_the_config_of_a_run_is_a_config(tmp_path, usage_error):
    found = read_config("toy/mixture").to_dict()
    path = tmp_path / "config.json"
    path.write_text(json.dumps(found))
    assert FLAGS["train"]().parse([f"--config={path}"]).config["sde"] == found["sde"]
    own = {**found, "sde": {"name": "no_such_module:SDE"}}
    path.write_text(json.dumps({"config": own, "step": 3}))  # as in a model.json
    line = usage_error("train", f"--config={path}", f"--workdir={tmp_path / 'run'}")
    assert "names code: sde.name='no_such_module:SDE'" in line and "--allow_code" in line
    for text, message in (("{", "is not JSON"), ("[1]", "it has no sections such as sde")):
        path.write_text(text)
        assert message in usage_error("train", f"--config={path}", f"--workdir={tmp_path}")
