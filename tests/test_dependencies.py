"""The package imports only what `pyproject.toml` declares, and declares only what it needs."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

import score_sde

PACKAGE = Path(score_sde.__file__).parent
ROOT = PACKAGE.parent

pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="not in a checkout")

NOT_IMPORTED = {"flatbuffers": "jax.export imports it, and jax does not require it"}
"""Dependencies that no file imports by name."""

DISTRIBUTIONS = {
    "PIL": "pillow",
    "absl": "absl-py",
    "mlflow": "mlflow-skinny",
    "orbax": "orbax-checkpoint",
    "yaml": "pyyaml",
}
"""The distributions whose modules have other names."""


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def names(requirements):
    return {normal(re.match(r"[\w.-]+", text)[0]) for text in requirements}


def imports(node, inside=False):
    """``(distribution, whether inside a function)`` for each import of another distribution."""
    modules = []
    if isinstance(node, ast.Import):
        modules = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        modules = [node.module]
    for module in {name.partition(".")[0] for name in modules}:
        if module not in sys.stdlib_module_names and module != "score_sde":
            yield normal(DISTRIBUTIONS.get(module, module)), inside
    inside = inside or isinstance(node, ast.FunctionDef)
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.expr):
            yield from imports(child, inside)


@cache
def found():
    """The distributions that are imported on loading a file, and those within functions."""
    at_once, later = set(), set()
    for folder in (PACKAGE, ROOT / "configs"):
        for path in folder.rglob("*.py"):
            for name, inside in imports(ast.parse(path.read_text(encoding="utf-8"))):
                (later if inside else at_once).add(name)
    return at_once, later


def test_what_a_file_imports_on_loading_is_a_dependency():
    at_once, _ = found()
    assert {"jax", "flax", "orbax-checkpoint", "pillow"} - at_once == {"pillow"}
    assert at_once - names(project()["dependencies"]) == set()


def test_what_a_function_imports_is_a_dependency_or_of_an_extra_for_users():
    _, later = found()
    extras = project()["optional-dependencies"]
    of_users = set().union(*(names(extras[name]) for name in extras.keys() - {"test", "dev"}))
    assert {"pillow", "wandb"} <= later
    assert later - names(project()["dependencies"]) - of_users == set()


def test_every_dependency_is_imported():
    at_once, later = found()
    declared = names(project()["dependencies"])
    assert declared - at_once - later == set(NOT_IMPORTED)


def test_a_plain_installation_is_without_the_packages_of_the_tests():
    """Also by way of another package."""
    declared = names(project()["dependencies"])
    tools = names(project()["optional-dependencies"]["test"])
    required, todo = set(), list(declared)
    while todo:
        name = todo.pop()
        if name not in required:
            required.add(name)
            todo += requirements(name)
    assert len(required) > 40  # the whole tree was read
    assert required & tools == {"scipy"}  # jax requires it


def requirements(name):
    """What an installed distribution requires, its extras apart."""
    try:
        lines = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:  # of another system
        return []
    return list(names(line for line in lines if "extra ==" not in line))


def test_versions_are_pinned_without_addresses():
    lines = (ROOT / "scripts" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.match(r"[a-z0-9-]+==[\w.]+( ; .+)?$", pin) for pin in pins)
    extras = project()["optional-dependencies"]
    direct = project()["dependencies"] + extras["test"] + extras["dev"]
    assert names(direct) - names(pins) == {"score-sde"}
