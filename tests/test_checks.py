"""The checks of arguments: what passes, and the line of what does not."""

import math
import re

import numpy as np
import pytest

from score_sde import checks


@pytest.mark.parametrize(
    ("check", "arguments", "value", "line"),
    [
        (checks.positive, (), 0, "x=0 must be positive and finite"),
        (checks.positive, (), math.inf, "x=inf must be positive and finite"),
        (checks.positive, (), math.nan, "x=nan must be positive and finite"),
        (checks.not_negative, (), -1.5, "x=-1.5 must be a finite number of at least 0"),
        (checks.at_least, (2,), 1, "x=1 must be at least 2"),
        (checks.at_least, (2,), math.nan, "x=nan must be at least 2"),
        (checks.between, (0, 1), 1.5, "x=1.5 must be from 0 to 1"),
        (checks.whole, (1,), 1.5, "x=1.5 must be a whole number"),
        (checks.whole, (1,), True, "x=True must be a whole number"),
        (checks.whole, (1,), math.inf, "x=inf must be a whole number"),
        (checks.whole, (1,), 0, "x=0 must be at least 1"),
        (checks.one_of, (("a", "b"),), "c", "x='c' must be one of a, b"),
    ],
)
def test_a_value_out_of_range_is_named_with_what_would_be_right(check, arguments, value, line):
    with pytest.raises(ValueError, match=f"^{re.escape(line)}$"):
        check(*arguments, x=value)
    with pytest.raises(ValueError, match=f"^{re.escape(line)}, it has to$"):
        check(*arguments, x=value, because="it has to")


@pytest.mark.parametrize(
    ("check", "arguments", "value"),
    [
        (checks.positive, (), 1e-300),
        (checks.not_negative, (), 0),
        (checks.at_least, (2,), 2),
        (checks.between, (0, 1), 0),
        (checks.between, (0, 1), 1),
        (checks.whole, (1,), np.int64(1)),
        (checks.whole, (1,), 3.0),
        (checks.one_of, ((None, 1),), None),
    ],
)
def test_a_value_in_range_passes(check, arguments, value):
    check(*arguments, x=value)


def test_the_first_wrong_value_is_named():
    with pytest.raises(ValueError, match=r"^y=0 must be positive"):
        checks.positive(x=1, y=0, z=-1)


def test_values_that_must_increase():
    checks.increasing(low=1, middle=2, high=3)
    with pytest.raises(ValueError, match=r"^middle=3 must be less than high=3, times fall$"):
        checks.increasing(low=1, middle=3, high=3, because="times fall")


def test_a_shape_is_compared_with_the_expected_one():
    checks.same_shape("y", [2, 3], (2, 3), "the sample")
    line = "y has shape (2,) and must have (3,), the shape of the sample"
    with pytest.raises(ValueError, match=f"^{re.escape(line)}$"):
        checks.same_shape("y", (2,), (3,), "the sample")


def test_a_condition_between_arguments():
    checks.require([0], "never raised")
    with pytest.raises(ValueError, match=r"^a, b$"):
        checks.require([], "a, b")


def test_a_long_value_is_cut():
    with pytest.raises(ValueError, match="must be one of") as error:
        checks.one_of(("a",), x="long" * 1000)
    assert len(str(error.value)) < 300
