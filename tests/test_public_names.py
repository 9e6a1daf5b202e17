"""What `import score_sde` offers."""

import ast
import inspect
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import score_sde
from score_sde.runtime.naming import imported
from score_sde.runtime.trust import EVERYTHING

HEAVY = {
    *("flax", "orbax", "matplotlib", "sklearn", "tensorboardX", "PIL", "ml_collections", "optax")
}

FACADE = Path(score_sde.__file__).read_text(encoding="utf-8")

ANNOTATIONS = ("Hook", "TrainResult")
"""Names that the facade imports for the annotations of its own functions."""

ROOMS = sorted(
    room.name for room in pkgutil.iter_modules(score_sde.__path__) if not room.name.startswith("_")
)


@pytest.mark.parametrize("name", score_sde.__all__)
def test_a_public_name_is_there_and_says_what_it_is(name):
    found = getattr(score_sde, name)
    assert callable(found)
    text = inspect.getdoc(found)
    assert text and text[0].strip()
    if inspect.isclass(found):
        # A dataclass or a tuple without a docstring of its own gets one that only
        # repeats its signature.
        assert not text.startswith(f"{name}("), f"{name} has no docstring of its own"


def faults(source):
    """What is wrong with the lists of names in the text of the facade: each name that is
    imported for type checkers is imported from the same module at run time, and listed.
    """
    lists, checked, defined = {}, {}, set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign):
            lists[node.targets[0].id] = ast.literal_eval(node.value)
        elif isinstance(node, ast.If):
            assert ast.unparse(node.test) == "TYPE_CHECKING"
            for line in node.body:
                checked |= {alias.name: line.module for alias in line.names}
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            defined.add(node.name)
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("score_sde"):
            yield f"{node.module} is imported at once"
    for name in ANNOTATIONS:
        checked.pop(name, None)
    public, modules = lists["__all__"], lists["_MODULES"]
    yield from (f"{name} is listed twice" for name in public if public.count(name) > 1)
    yield from (
        f"{name} is not everywhere"
        for name in {*modules, *defined} ^ set(public) | modules.keys() ^ checked.keys()
    )
    yield from (
        f"{name} is said to be in two modules"
        for name in modules.keys() & checked.keys()
        if modules[name] != checked[name]
    )


def test_the_list_of_names_is_whole():
    assert list(faults(FACADE)) == []
    public = {name for name, value in vars(score_sde).items() if not inspect.ismodule(value)}
    public = {name for name in public if not name.startswith("_")}
    assert public - {"TYPE_CHECKING", "Any", "Path", "Sequence"} <= set(score_sde.__all__)
    assert dir(score_sde) == sorted(score_sde.__all__)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('    "slerp",\n', ""),
        ('    "slerp",\n', '    "slerp",\n    "slerp",\n'),
        ('    "slerp": "score_sde.sampling.latents",\n', ""),
        ('    "slerp": "score_sde.sampling.latents",', '    "slerp": "score_sde.sampling",'),
        ("import slerp\n", "import slerp, interpolate\n"),
        ("def train(", "def trained("),
        ("\ndef train(", "\nfrom score_sde.sdes import VPSDE\n\n\ndef train("),
    ],
)
def test_a_list_that_is_not_whole_is_noticed(before, after):
    assert before in FACADE
    assert list(faults(FACADE.replace(before, after)))


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_is_an_attribute(room):
    assert getattr(score_sde, room).__name__ == f"score_sde.{room}"


def test_a_former_name_warns_and_is_the_present_one():
    with pytest.warns(DeprecationWarning, match=r"score_sde\.DDPM is now score_sde\.DDPMLoss"):
        assert score_sde.DDPM is score_sde.DDPMLoss
    for name in ("score_sde.objectives:DDPM", "score_sde:DDPM"):
        assert imported("objective", name, trust=EVERYTHING) is score_sde.DDPMLoss


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'score_sde' has no attribute 'smaple'"):
        _ = score_sde.smaple


def modules_after(line):
    """The modules of a process of its own after this line."""
    code = f"import json, sys; {line}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_importing_the_package_imports_hardly_more_than_jax():
    new = modules_after("import jax, score_sde") - modules_after("import jax")
    assert new == {"score_sde"}


def test_the_mathematics_imports_no_network_file_or_config():
    line = "import score_sde; score_sde.sample, score_sde.VPSDE, score_sde.log_likelihood"
    assert not modules_after(line) & HEAVY


def test_a_room_is_reached_by_the_package_alone():
    assert "score_sde.sampling.drawing" in modules_after(
        "import score_sde; score_sde.sampling.DDIM"
    )
