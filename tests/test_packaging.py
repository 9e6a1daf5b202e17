"""What is installed, and that the project speaks of no machine."""

import importlib
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

import score_sde

ROOT = Path(__file__).parent.parent
PACKAGE = Path(score_sde.__file__).parent

pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="not in a checkout")

TEXTS = (".py", ".md", ".toml", ".sh", ".yaml", ".yml", ".txt", ".cfg")
FOLDERS = ("score_sde", "configs", "tests", "scripts", "docs", ".ci")


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def folders_with_code(root, name):
    folders = {path.parent for path in root.rglob("*.py")}
    return {".".join([name, *folder.relative_to(root).parts]) for folder in folders}


def test_every_folder_with_code_is_installed():
    listed = project()["tool"]["setuptools"]["packages"]
    found = folders_with_code(ROOT / "score_sde", "score_sde") | folders_with_code(
        ROOT / "configs", "score_sde.configs"
    )
    assert sorted(listed) == sorted(found)


def test_every_folder_with_code_is_a_package():
    for root in (ROOT / "score_sde", ROOT / "configs"):
        for folder in {path.parent for path in root.rglob("*.py")}:
            assert (folder / "__init__.py").is_file(), folder


def test_types_are_announced_and_installed():
    assert (PACKAGE / "py.typed").is_file()
    assert "py.typed" in project()["tool"]["setuptools"]["package-data"]["score_sde"]


def test_the_command_is_there():
    module, _, name = project()["project"]["scripts"]["score-sde"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))


def test_what_the_project_promises_lies_beside_it():
    for name in (
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "scripts/quickstart.sh",
        "scripts/test.sh",
    ):
        assert (ROOT / name).is_file(), name


def own_texts():
    yield from (path for path in ROOT.iterdir() if path.is_file() and path.suffix in TEXTS)
    for folder in FOLDERS:
        yield from (
            path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix in TEXTS
        )
    yield from (path for path in (ROOT / ".ci").glob("*") if path.is_file())


def test_no_file_speaks_of_a_folder_of_one_machine():
    folders = "|".join(
        ["ro" + "ot", "ho" + "me", "wo" + "rk", "Us" + "ers", "us" + "r/local", "o" + "pt"]
    )
    private = re.compile(rf"(?<![\w.])/({folders})/\w")
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in own_texts()
        for line in path.read_text(encoding="utf-8").splitlines()
        if private.search(line)
    ]
    assert not found, found


@pytest.mark.slow
def test_the_source_archive_holds_tests_docs_and_scripts(tmp_path):
    pytest.importorskip("setuptools", minversion="77")  # as pyproject.toml requires
    tree = tmp_path / "tree"
    ignored = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "dist", "runs")
    shutil.copytree(ROOT, tree, ignore=ignored)
    code = "from setuptools import build_meta; print(build_meta.build_sdist('dist'))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=tree,
        capture_output=True,
        text=True,
        check=True,
    )
    with tarfile.open(tree / "dist" / done.stdout.split()[-1]) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    for folder in ("configs", "docs", "scripts", "tests"):
        files = [path for path in (tree / folder).rglob("*") if path.is_file()]
        wanted = {str(path.relative_to(tree)) for path in files if path.suffix != ".pyc"}
        assert wanted <= found, sorted(wanted - found)[:5]
    assert {"CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml"} <= found
