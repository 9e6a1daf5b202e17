"""Typed options of foreign configs: right values are returned, all others are one line."""

import pytest

from score_sde.interop.options import Options


def read(method, value, *arguments, **options):
    return getattr(Options({"x": value}), method)("x", *arguments, **options)


@pytest.mark.parametrize(
    ("method", "value", "arguments"),
    [
        ("number", 3, ()),
        ("number", -0.5, ()),
        ("whole", 0, ()),
        ("flag", False, ()),
        ("choice", "b", (("a", "b"),)),
        ("only", None, (7, None)),
    ],
)
def test_a_right_value_is_returned_as_it_is(method, value, arguments):
    assert read(method, value, *arguments) is value


@pytest.mark.parametrize(
    ("method", "value", "arguments", "right"),
    [
        *(
            ("number", value, (), "a finite number")
            for value in (None, True, "3", [3], float("nan"), float("inf"))
        ),
        *(
            ("whole", value, (), "a whole number of at least 0")
            for value in (None, True, "3", 0.5, -1, float("inf"))
        ),
        *(("flag", value, (), "True or False") for value in (None, 0, 1, "True")),
        *(("choice", value, (("ab", "c"),), "one of ab, c") for value in (None, "a", ["ab"], {})),
        ("only", True, (1,), "1, no other value is supported"),
        ("only", 1, (True,), "True, no other value is supported"),
        ("only", "c", ("a", None), "'a' or None, no other value is supported"),
    ],
)
def test_a_wrong_value_is_an_error_that_says_what_is_right(method, value, arguments, right):
    with pytest.raises(ValueError) as caught:
        read(method, value, *arguments)
    assert str(caught.value).startswith(f"x={value!r} must be {right}")


def test_whole_numbers_have_bounds_and_may_be_written_as_floats():
    assert read("whole", 5.0) == 5 and isinstance(read("whole", 5.0), int)
    assert read("whole", 2, least=2, most=2) == 2
    for value in (1, 3, 10**400):
        with pytest.raises(ValueError, match=r"must be a whole number from 2 to 2$"):
            read("whole", value, least=2, most=2)


def test_a_missing_option_has_the_default_of_the_config_or_of_the_call_or_is_an_error():
    options = Options({}, defaults={"dropout": 0.1})
    assert options.number("lr", 1.0) == 1.0 and options.number("dropout") == 0.1
    with pytest.raises(ValueError, match=r"^dropout=0.1 must be 0.2, no other"):
        options.only("dropout", 0.2)  # the default of the config is checked, too
    with pytest.raises(ValueError, match=r"^the config lacks steps$"):
        options.whole("steps")
    with pytest.raises(ValueError, match=r"lacks beta_min, did you mean 'beta_mim'\?$"):
        Options({"beta_mim": 1}).number("beta_min")


def test_null_counts_as_missing_where_a_caller_says_so():
    options = Options({"kind": None})
    assert options.get("kind", 3) is None and options.not_null("kind", 3) == 3


def test_choices_in_any_case():
    options = Options({"optimizer": "Adam"}, any_case=True)
    assert options.choice("optimizer", ("adam",)) == "adam"
    with pytest.raises(ValueError, match="optimizer='Adam' must be one of adam"):
        Options({"optimizer": "Adam"}).choice("optimizer", ("adam",))


def test_an_option_that_nothing_has_read_is_an_error():
    options = Options({"a": 1, "b": 2, "c": 3, "d": 4})
    options.number("a")
    options.ignore({"b"})
    with pytest.raises(ValueError, match=r"^d=4 is an unknown option of this config"):
        options.finish("this config", known={"c"})
    options.finish("this config", known={"c", "d"})
