"""Names and keyword arguments that people write in configs."""

import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Literal

import pytest

from score_sde.runtime.naming import (
    check_arguments,
    describe,
    did_you_mean,
    fits,
    from_text,
    imported,
    lookup,
)
from score_sde.runtime.trust import EVERYTHING

TABLE = {"heun": 1, "euler_maruyama": 2}


def test_did_you_mean_names_the_most_similar_or_nothing():
    assert did_you_mean("huen", TABLE) == ", did you mean 'heun'?"
    assert did_you_mean("zzz", TABLE) == ""


def test_lookup_finds_an_entry_of_the_table_and_a_dotted_name():
    assert lookup("sampler", "heun", TABLE, trust=EVERYTHING) == 1
    assert lookup("sampler", "inspect:signature", TABLE, trust=EVERYTHING) is inspect.signature


@pytest.mark.parametrize("name", ["huen", "", 3, None, ["heun"], {"name": "heun"}, 1.5, True])
def test_lookup_of_an_unknown_name_lists_the_known_ones(name):
    with pytest.raises(
        ValueError, match=r"unknown sampler .*known: heun, euler_maruyama, or package.module:Name"
    ):
        lookup("sampler", name, TABLE, trust=EVERYTHING)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:Name", "no module 'no_such_module'"),
        ("math.no:Name", "no module 'math.no'"),
        ("math:sinn", "module 'math' has no function or class 'sinn', did you mean 'sin'"),
        ("math:pi", "module 'math' has no function or class 'pi'"),
        ("math:", "unknown sde 'math:'"),
        ("1a:b", "unknown sde '1a:b'"),
        ("math:sin:cos", "unknown sde"),
        ("heum:Name", "no module 'heum', did you mean 'heun'"),
    ],
)
def test_a_dotted_name_of_no_object_is_an_error(name, message):
    with pytest.raises(ValueError, match=message):
        imported("sde", name, TABLE, trust=EVERYTHING)


@pytest.mark.parametrize(
    "code", ["import no_such_module", "def (", "raise RuntimeError('of its own')"]
)
def test_the_reason_why_a_module_cannot_be_imported_is_reported(tmp_path, monkeypatch, code):
    (tmp_path / "broken_module.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        ValueError, match=r"^sde 'broken_module:Name': module 'broken_module' cannot be imported"
    ):
        imported("sde", "broken_module:Name", trust=EVERYTHING)
    sys.modules.pop("broken_module", None)


def solver(
    shape: tuple[int, ...], *, num_steps: int = 3, snr: float = 0.1, kind: Literal["a", "b"] = "a"
) -> None:
    """Something with arguments."""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"num_step": 3},
            "sampling has no key 'num_step', did you mean 'num_steps'?; keys: num_steps, snr, kind",
        ),
        ({"shape": 3}, "sampling has no key 'shape'; keys: num_steps, snr, kind"),
        ({"num_steps": 1.5}, "sampling.num_steps=1.5 must be a whole number"),
        ({"num_steps": True}, "sampling.num_steps=True must be a whole number"),
        ({"snr": "x"}, "sampling.snr='x' must be a finite number"),
        ({"snr": float("nan")}, "sampling.snr=nan must be a finite number"),
        ({"kind": "c"}, "sampling.kind='c' must be one of 'a', 'b'"),
    ],
)
def test_an_unknown_key_and_a_wrong_type_are_named(arguments, message):
    with pytest.raises(ValueError) as error:
        check_arguments("sampling", solver, arguments, given=("shape",))
    assert str(error.value) == message


def test_arguments_are_returned_as_annotated_and_a_missing_one_is_named():
    found = check_arguments("sampling", solver, {"num_steps": 3, "snr": 1}, given=("shape",))
    assert (
        found == {"num_steps": 3, "snr": 1.0}
        and type(found["snr"]) is float
        and type(found["num_steps"]) is int
    )
    assert check_arguments("sampling", lambda **anything: None, {"whatever": 3}) == {"whatever": 3}
    with pytest.raises(ValueError, match=r"^sampling 'heun' needs shape$"):
        check_arguments("sampling", solver, {}, name="heun")


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        (int, [0, -3], [1.0, "1", None, True, [1]]),
        (float, [0, 1.5], ["1", None, True, float("inf"), float("nan")]),
        (bool, [True, False], [0, 1, "true", None]),
        (str, ["", "x"], [0, None, b"x"]),
        (int | None, [None, 3], ["x", 1.5]),
        (Sequence[int], [(), (1, 2), [3]], [3, "12", (1.5,), ("a",)]),
        (tuple[int, ...], [(1, 2)], [3, (1.5,)]),
        (Literal["a"], ["a"], ["b", None, ["a"], {}]),
        (Callable, [3, "anything"], []),
    ],
)
def test_values_that_fit_a_plain_annotation(annotation, good, bad):
    assert all(fits(value, annotation) for value in good)
    assert not any(fits(value, annotation) for value in bad)
    assert describe(annotation)


def test_annotations_in_words():
    assert describe(int | None) == "a whole number or None"
    assert describe(Sequence[int]) == "a sequence, each a whole number"
    assert describe(Literal["a", "b"]) == "one of 'a', 'b'"


def ball(*, radius: float, number: int = 1, filled: bool = True):
    """What a text may make."""
    if radius < 0:
        raise ValueError("the radius is negative")
    return radius, number, filled


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("ball:2", (2.0, 1, True)),
        ("ball:2e3", (2000.0, 1, True)),
        ("ball: 0.5, number=3,filled = False", (0.5, 3, False)),
    ],
)
def test_a_text_makes_a_value_by_a_table(text, made):
    assert from_text("toy", text, {"ball": ball}) == made


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ball", "toy='ball' must be NAME:VALUE, with NAME one of ball"),
        (3, "toy=3 must be NAME:VALUE, with NAME one of ball"),
        ("bal:3", "unknown toy 'bal:3', did you mean 'ball'?; known: ball"),
        ("ball:", "toy.radius='' must be a finite number"),
        ("ball:big", "toy.radius='big' must be a finite number"),
        ("ball:inf", "toy.radius='inf' must be a finite number"),
        (
            "ball:__import__('os')",
            """toy.radius="__import__('os')" must be a finite number""",
        ),
        (
            "ball:1,2",
            "toy='ball:1,2' must be ball:VALUE and then, after commas, key=value once each",
        ),
        (
            "ball:radius=1",
            "toy='ball:radius=1' must be ball:VALUE and then, after commas, key=value once each",
        ),
        (
            "ball:1,radius=1",
            "toy='ball:1,radius=1' must be ball:VALUE and then, after commas, key=value once each",
        ),
        ("ball:1,nmber=1", "toy 'ball:1,nmber=1' has no key 'nmber', did you mean 'number'?"),
        ("ball:1,number=1.5", "toy.number=1.5 must be a whole number"),
        ("ball:-1", "toy 'ball:-1': the radius is negative"),
    ],
)
def test_a_text_that_makes_no_value_is_an_error_that_quotes_it(text, message):
    with pytest.raises(ValueError) as error:
        from_text("toy", text, {"ball": ball})
    assert str(error.value).startswith(message)
