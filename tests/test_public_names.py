"""What `import score_sde` offers."""

import inspect
import json
import pkgutil
import re
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

STUB = Path(score_sde.__file__).with_suffix(".pyi").read_text(encoding="utf-8")
"""The list of public names, for type checkers and at run time."""

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


def test_every_name_is_listed_once():
    listed = re.findall(r" as (\w+)", STUB)
    assert sorted(listed) == score_sde.__all__ == dir(score_sde)
    assert len(set(listed)) == len(listed)


def test_a_name_is_listed_as_itself():
    """Under another name it would be found by type checkers only."""
    assert all(name == given for name, given in re.findall(r"(\w+) as (\w+)", STUB))


FORMER = {"build_classifier", "build_dequantizer", "load_classifier", "load_dequantizer"}
"""Names that go with the next version."""


NEED_A_MODEL = {
    *("AnyExperiment", "ClassifierExperiment", "DequantizerExperiment", "LearnedDequantizer"),
    *("Model", "NoisyClassifier", "TrainedModel", "build_model", "fit", "sample_many", "train"),
}
"""Names whose examples need a trained model or a folder, which other tests run."""


@pytest.mark.parametrize("name", sorted({*score_sde.__all__} - FORMER))
def test_a_public_name_has_an_example(name):
    """`scripts/test.sh` runs those with a prompt."""
    text = inspect.getdoc(getattr(score_sde, name))
    assert (">>> " in text) if name not in NEED_A_MODEL else ("::" in text)


@pytest.mark.parametrize("name", ["encode", "log_likelihood", "sample", "variational_bound"])
def test_a_signature_names_its_types(name):
    """``help`` shows aliases such as ``ScoreFn``, and not the types they stand for."""
    signature = str(inspect.signature(getattr(score_sde, name)))
    assert "score_fn: ScoreFn" in signature and "Callable" not in signature
    assert len(signature) <= 520


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
    assert new == {"score_sde", "lazy_loader"}


def test_the_mathematics_imports_no_network_file_or_config():
    line = "import score_sde; score_sde.sample, score_sde.VPSDE, score_sde.log_likelihood"
    assert not modules_after(line) & HEAVY


def test_a_room_is_reached_by_the_package_alone():
    assert "score_sde.sampling.drawing" in modules_after(
        "import score_sde; score_sde.sampling.DDIM"
    )


def test_a_command_imports_no_library_before_it_needs_it():
    later = {"flax.nnx", "matplotlib", "PIL", "tensorboardX", "grain", "sklearn"}
    assert not modules_after("import score_sde.cli.sample") & later
