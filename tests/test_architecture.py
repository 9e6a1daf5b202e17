"""The house keeps its order: floors, single importers, sizes, annotations and names.

``docs/architecture.md`` describes the rooms.
"""

import ast
import statistics
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import score_sde

ROOT = Path(score_sde.__file__).parent
FACADE = ROOT / "__init__.py"
STUB = ROOT / "__init__.pyi"
MODULES = sorted(path for path in ROOT.rglob("*.py") if path != FACADE)
PLAIN = [path for path in MODULES if path.name != "__init__.py"]

FLOORS = {
    room: floor
    for floor, rooms in enumerate(
        [
            ("typing", "checks", "renamed", "precision", "configs"),
            ("sdes", "runtime"),
            ("solvers", "parameterization", "divergence", "chunking"),
            ("sampling", "objectives"),
            ("conditioning", "likelihood"),
            ("models",),
            ("data", "export", "interop"),
            ("training",),
            ("experiments",),
            ("evaluation",),
            ("cli", "__main__"),
        ]
    )
    for room in rooms
}
"""A room imports from lower floors, or from its own floor without a circle.

``configs`` are recipes, which import nothing of the package but each other.
"""

EVERYWHERE = {"typing", "checks", "precision", "renamed"}
"""Modules of the ground floor that any room may import."""

CORE = FLOORS["likelihood"]
"""The highest floor of the mathematics, which knows no files, configs or networks."""

IMPORTERS = {
    "flax": ("models",),
    "orbax": ("training/checkpoints",),
    "ml_collections": ("experiments/builders", "cli"),
    "diffrax": ("solvers", "sampling"),
    "optax": ("training", "experiments"),
}
"""The only places where a library is imported."""

NOT_IN_THE_CORE = {
    "flax",
    "optax",
    "orbax",
    "ml_collections",
    "absl",
    "logging",
    "pathlib",
    "os",
    "io",
    "tempfile",
}


@cache
def tree(path):
    return ast.parse(path.read_text())


def room(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path):
    """The dotted names of all imported modules, wherever in the file."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            yield node.module
            if node.module == "score_sde":
                yield from (f"score_sde.{alias.name}" for alias in node.names)


def functions(path):
    return [
        node
        for node in ast.walk(tree(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]


def rooms_imported(path):
    parts = (name.split(".") for name in imported(path))
    return {part[1] for part in parts if part[0] == "score_sde" and len(part) > 1} - {room(path)}


def arrows():
    """For every room the rooms that it imports from."""
    found = {}
    for path in MODULES:
        found.setdefault(room(path), set()).update(rooms_imported(path))
    return found


def test_every_room_has_a_floor_and_imports_from_no_higher_one():
    for path in MODULES:
        for other in rooms_imported(path):
            assert FLOORS[other] <= FLOORS[room(path)], (
                f"{path.relative_to(ROOT)} imports {other}, a floor above"
            )


def test_there_are_no_circles_between_rooms():
    TopologicalSorter(arrows()).prepare()  # raises CycleError


def test_rooms_are_few_and_so_are_the_imports_between_them():
    found = arrows()
    loose = {path.stem for path in ROOT.glob("*.py")} - {"__init__", "__main__"}
    assert len(loose) <= 7, sorted(loose)
    facade = {node.module.split(".")[0] for node in tree(STUB).body[1:]}
    assert sum(len(rooms - EVERYWHERE) for rooms in [*found.values(), facade]) <= 76


@pytest.mark.parametrize("library", IMPORTERS)
def test_a_library_is_imported_in_its_place_alone(library):
    places = {
        path.relative_to(ROOT).as_posix()
        for path in MODULES
        if library in {name.split(".")[0] for name in imported(path)}
    }
    elsewhere = [place for place in places if not place.startswith(IMPORTERS[library])]
    assert places and not elsewhere, f"{library} is imported by {elsewhere}"


def test_the_maths_core_knows_no_files_configs_or_networks():
    for path in MODULES:
        if FLOORS[room(path)] <= CORE and room(path) not in ("configs", "runtime"):
            found = {name.split(".")[0] for name in imported(path)} & NOT_IN_THE_CORE
            assert not found, f"{path.relative_to(ROOT)} imports {found}"
            assert "runtime" not in rooms_imported(path), path.relative_to(ROOT)


def test_no_sde_is_told_apart_by_its_type():
    for path in MODULES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "isinstance",
                "issubclass",
            ):
                assert "SDE" not in ast.unparse(node), f"{path.relative_to(ROOT)}:{node.lineno}"


def test_modules_and_functions_are_short():
    lines = {path: path.read_text().count("\n") for path in PLAIN}
    assert max(lines.values()) <= 400, max(lines, key=lines.get)
    assert statistics.median(lines.values()) <= 150
    for path in MODULES:
        for function in functions(path):
            length = function.end_lineno - function.lineno + 1
            assert length <= 80, f"{path.relative_to(ROOT)}: {function.name} has {length} lines"


LONG_COMMANDS = {
    "launch.py": "two commands, local and slurm, with their flags",
    "main.py": "no command: it chooses the command, and turns errors into exit codes",
}


def test_commands_are_flags_messages_and_exit_codes():
    """What they set going is elsewhere, where it can be called without them."""
    commands = [
        path
        for path in (ROOT / "cli").glob("*.py")
        if "main" in {function.name for function in functions(path)}
    ]
    assert len(commands) >= 12
    for path in commands:
        if path.name not in LONG_COMMANDS:
            assert path.read_text().count("\n") <= 80, path.name


def test_everything_is_annotated():
    bare = []
    for path in MODULES:
        for function in functions(path):
            arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
            bare += [
                f"{path.name}: {function.name}({a.arg})"
                for a in arguments
                if not a.annotation and a.arg not in ("self", "cls")
            ]
            bare += [f"{path.name}: {function.name} ->"] if function.returns is None else []
    assert not bare, bare


def test_names_say_what_a_module_is():
    for path in MODULES:
        for part in path.relative_to(ROOT).with_suffix("").parts:
            assert part not in ("utils", "util", "helpers", "common", "misc") and not part.endswith(
                "_lib"
            ), path
    for path in MODULES:
        assert not [
            function.name for function in functions(path) if function.name.startswith("get_")
        ], path
