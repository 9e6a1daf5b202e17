"""Which code a config may name."""

import functools
import os

import pytest

from score_sde.experiments.code_names import check_code, named_code
from score_sde.runtime.naming import imported
from score_sde.runtime.trust import EVERYTHING, NOTHING, Trust, is_code


@pytest.mark.parametrize(
    ("allow", "name", "allowed"),
    [
        ((), "mypkg:Net", False),
        ("mypkg", "mypkg:Net", True),
        (["mypkg"], "mypkg.nets.small:Net", True),
        (["mypkg.*"], "mypkg:Net", True),
        (["mypkg.*"], "mypkg.nets.small:Net", True),
        (["mypkg.nets"], "mypkg.nets:Net", True),
        (["mypkg.nets"], "mypkg.nets.small:Net", True),
        (["mypkg.nets"], "mypkg:Net", False),
        (["mypkg.nets"], "mypkg.nets2:Net", False),
        (["mypkg"], "mypkg2:Net", False),
        (["mypkg"], "os:system", False),
        (["mypkg.nets:Net"], "mypkg.nets:Net", True),
        (["mypkg.nets:Net"], "mypkg.nets:Other", False),
        (["mypkg.nets:Net"], "mypkg.nets.small:Net", False),
        (["other", "mypkg"], "mypkg:Net", True),
        ("*", "mypkg:Net", True),
    ],
)
def test_the_names_that_a_pattern_allows(allow, name, allowed):
    assert Trust.of(allow).allows(name) is allowed
    assert NOTHING.allows(name) is False and EVERYTHING.allows(name) is True


@pytest.mark.parametrize(
    "pattern",
    ["", "my-pkg", "mypkg.", "mypkg:*", "my pkg", "*.x", "**", "mypkg.**", ":Net", "mypkg:"],
)
def test_a_text_that_is_no_pattern_is_an_error(pattern):
    with pytest.raises(
        ValueError,
        match=r"^allow=.* must be 'package', 'package\.\*', 'package\.module:Name' or '\*'",
    ):
        Trust.of([pattern])


def test_code_is_named_by_identifiers():
    assert all(map(is_code, ("os:system", "a.b.c:D", "é:ü")))
    texts = (
        "os",
        "os:",
        ":system",
        "a:b:c",
        "a.b",
        "power:0.05",
        "npz:a.npz",
        "a b:c",
        "a..b:c",
        "",
        3,
        None,
        ["a:b"],
    )
    assert not any(map(is_code, texts))


def test_code_that_is_not_trusted_is_not_imported(monkeypatch):
    monkeypatch.setattr("importlib.import_module", lambda name: pytest.fail(f"{name} is imported"))
    with pytest.raises(ValueError) as error:
        imported("sampling", "some_package.samplers:Own", trust=Trust.of("some_package.sampler"))
    line = (
        "a saved config names code: sampling='some_package.samplers:Own'; code that a file "
        "names is not run: if you "
    )
    line += (
        "trust it, load with allow=['some_package.samplers'], on the command line "
        "--allow_code=some_package.samplers"
    )
    assert str(error.value) == line


def test_an_allowed_module_does_not_hand_on_the_code_of_others(tmp_path, monkeypatch):
    text = "import functools\nfrom os import system\npart = functools.partial(system, 'x')\n"
    (tmp_path / "handing_on.py").write_text(
        f"{text}def own(): ...\nmine = functools.partial(own)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("system", "part"):
        with pytest.raises(
            ValueError,
            match=rf"^sde 'handing_on:{name}' is defined in 'posix', which is not allowed",
        ):
            imported("sde", f"handing_on:{name}", trust=Trust.of("handing_on"))
    assert imported("sde", "handing_on:system", trust=Trust.of("handing_on:system")) is os.system
    assert imported("sde", "handing_on:own", trust=Trust.of("handing_on")).__name__ == "own"
    assert isinstance(
        imported("sde", "handing_on:mine", trust=Trust.of("handing_on")), functools.partial
    )


def test_paths_data_sets_and_averages_are_no_code():
    config = {
        "seed": 0,
        "sde": {"name": "vp"},
        "data": {"source": "hf:mnist", "label": "a:b", "path": "host:folder"},
        "training": {"averages": ["power:0.05", "half_life:inf"], "trackers": ["tensorboard"]},
        "model": {"name": "mlp", "hub": "a:b"},
    }
    assert not list(named_code(config))
    check_code(config, NOTHING, "runs/x")


def test_code_is_found_wherever_something_is_looked_up():
    config = {
        "sde": {"name": "a:b"},
        "sampling": {"name": "heun", "threshold": {"name": "c:d"}, "grid": "e:f"},
        "objective": {"weighting": {"name": "g:h", "x": {"y": [{"name": "i:j"}]}}},
        "data": {"source": "k.l:m"},
        "training": {"trackers": ["tensorboard", "n:o"]},
        "eval": {"bound": "p:q", "dequantizer": "r:s"},
    }
    found = dict(named_code(config))
    assert found == {
        "sde.name": "a:b",
        "sampling.threshold.name": "c:d",
        "sampling.grid": "e:f",
        "objective.weighting.name": "g:h",
        "objective.weighting.x.y.name": "i:j",
        "data.source": "k.l:m",
        "training.trackers": "n:o",
        "eval.bound": "p:q",
        "eval.dequantizer": "r:s",
    }
    with pytest.raises(
        ValueError,
        match=r"^runs/x names code: sde\.name='a:b', .* and 4 more; .*allow=\['a', 'g', ",
    ):
        check_code(config, NOTHING, "runs/x")
    check_code(config, Trust.of(["a:b"]), "runs/x", sections=["sde"])


@pytest.mark.parametrize("config", [None, [], "sde", 3])
def test_what_is_no_config(config):
    with pytest.raises(ValueError, match=r"^runs/x has no config: there is "):
        check_code(config, NOTHING, "runs/x")


def test_the_line_is_one_line_and_of_bounded_length():
    config = {"sde": {"a\n\x1b[31m": {"name": "m" * 10_000 + ":x"}}}
    with pytest.raises(ValueError) as error:
        check_code(config, NOTHING, "x")
    # The name of a section that no line can show is quoted, and what is long is cut.
    assert str(error.value).isprintable() and len(str(error.value)) < 1000
