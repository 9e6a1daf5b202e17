"""What `import score_sde` offers."""

import inspect
import subprocess
import sys

import pytest

import score_sde

HEAVY = ("flax", "orbax", "matplotlib", "sklearn", "tensorboardX", "PIL", "ml_collections", "optax")


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


def test_the_list_of_names_is_whole():
    assert sorted(set(score_sde.__all__)) == sorted(score_sde.__all__)
    public = {
        name
        for name, value in vars(score_sde).items()
        if not name.startswith("_")
        and not inspect.ismodule(value)
        and value.__class__.__module__ != "typing"
    }
    assert public - {"TYPE_CHECKING"} <= set(score_sde.__all__)
    assert score_sde._LATER.keys() <= set(score_sde.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'score_sde' has no attribute 'smaple'"):
        _ = score_sde.smaple


def test_importing_the_package_imports_the_mathematics_alone():
    code = f"import sys, score_sde; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
