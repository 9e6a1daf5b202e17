"""The house keeps its order: floors, borders, sizes, annotations and names."""

import ast
import statistics
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import score_sde

ROOT = Path(score_sde.__file__).parent
MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")
PLAIN = [path for path in MODULES if path.name != "__init__.py"]

FLOORS = {
    **dict.fromkeys(
        [
            "typing",
            "precision",
            "naming",
            "configs",
            "sdes",
            "chunking",
            "memory",
            "devices",
            "trust",
        ],
        0,
    ),
    **dict.fromkeys(
        [
            "reverse",
            "parameterization",
            "objectives",
            "solvers",
            "integrate",
            "divergence",
            "normal",
        ],
        1,
    ),
    **dict.fromkeys(["sampling", "likelihood", "latents", "conditioning", "simulation"], 2),
    **dict.fromkeys(["evidence", "discrete_evidence", "dequantization", "estimators"], 2),
    **dict.fromkeys(["models", "data", "interop", "replacing", "unreadable"], 3),
    **dict.fromkeys(["training", "evaluation"], 4),
    **dict.fromkeys(
        ["experiment", "classifier", "dequantizer", "tables", "sections", "builders", "loading"], 5
    ),
    **dict.fromkeys(["code_names"], 5),
    **dict.fromkeys(["cli", "__main__"], 6),
}
"""A room imports from lower floors, or from its neighbours as long as that makes no circle."""

IMPORTERS = {
    "flax": {"models"},
    "orbax": {"training"},
    "ml_collections": {"builders", "cli"},
    "diffrax": {"solvers", "integrate"},
    "grain": {"data"},
}
"""Libraries that one room alone may import."""

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


def test_every_room_has_a_floor_and_imports_from_no_higher_one():
    for path in MODULES:
        for other in rooms_imported(path):
            assert FLOORS[other] <= FLOORS[room(path)], (
                f"{path.relative_to(ROOT)} imports {other}, a floor above"
            )


def test_there_are_no_circles_between_rooms():
    graph = {}
    for path in MODULES:
        graph.setdefault(room(path), set()).update(rooms_imported(path))
    TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.parametrize("library", IMPORTERS)
def test_a_library_is_imported_by_its_room_alone(library):
    importers = {
        room(path) for path in MODULES if library in {name.split(".")[0] for name in imported(path)}
    }
    assert importers <= IMPORTERS[library] and importers, f"{library} is imported by {importers}"


def test_the_maths_core_knows_no_files_configs_or_networks():
    for path in MODULES:
        if FLOORS[room(path)] <= 2 and room(path) != "naming":
            found = {name.split(".")[0] for name in imported(path)} & NOT_IN_THE_CORE
            assert not found, f"{path.relative_to(ROOT)} imports {found}"


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
    assert max(lines.values()) <= 470, max(lines, key=lines.get)
    assert statistics.median(lines.values()) <= 150
    for path in MODULES:
        for function in functions(path):
            length = function.end_lineno - function.lineno + 1
            assert length <= 110, f"{path.relative_to(ROOT)}: {function.name} has {length} lines"


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
