"""Parameters of any structure by name, and back."""

from typing import NamedTuple

import jax
import numpy as np
import pytest
from flax.core import FrozenDict

from score_sde.export.model import export_model, read_exported
from score_sde.export.parameter_names import containers_of, named, nested


def a(value):
    return np.full(2, value, np.float32)


class Pair(NamedTuple):
    left: object
    right: object


TREES = {
    "dictionaries": {"a": {"b": a(1), "c": a(2)}, "d": a(3)},
    "lists and tuples": {"layers": [a(1), (a(2), [a(3)])], "more": (a(4),)},
    "twelve layers": [a(i) for i in range(12)],
    "names that would be one": {"a/b": a(1), "a": {"b": a(2)}, "a~1b": a(3), "~": {"": a(4)}},
    "whole numbers": {0: a(1), 10: a(2), -3: {"x": a(3)}},
    "texts of whole numbers": {"0": a(1), "1": a(2)},
    "nothing": {"none": None, "empty": {}, "list": [], "tuple": (), "w": a(1), "deep": {"n": None}},
    "one array": a(1),
    "one list": [a(1)],
    "an empty key": {"": a(1)},
    "no array": {},
    "none": None,
}


@pytest.mark.parametrize("name", TREES)
def test_the_structure_of_parameters_comes_back(name, tmp_path):
    tree = TREES[name]
    export_model(tmp_path / "model", tree, {}, step=0)
    found = read_exported(tmp_path / "model").params
    assert jax.tree.structure(found) == jax.tree.structure(tree)
    jax.tree.map(np.testing.assert_array_equal, found, tree)


def test_fields_of_named_tuples_and_frozen_dictionaries_come_back_in_dictionaries():
    tree = {"pair": Pair(a(1), [a(2)]), "frozen": FrozenDict({"x": a(3)})}
    found = nested(named(tree), containers_of(tree))
    expected = {"pair": {"left": a(1), "right": [a(2)]}, "frozen": {"x": a(3)}}
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_numbers_of_python_become_arrays_without_axes():
    found = nested(named({"scale": 2.5, "n": 3}))
    assert found == {"scale": 2.5, "n": 3} and found["scale"].shape == ()


def test_plain_dictionaries_need_no_containers_and_old_names_have_no_escapes():
    assert containers_of(TREES["dictionaries"]) is None
    assert nested({"a~1b": a(1), "c/d": a(2)}).keys() == {"a~1b", "c"}


@pytest.mark.parametrize("key", [1.5, True, (1, 2), None, b"a"])
def test_a_key_that_no_file_holds_is_an_error(key):
    with pytest.raises(
        ValueError, match=r"^the parameters have the keys .* in a: a file holds keys"
    ):
        containers_of({"a": {key: a(1)}})


def test_parameters_too_deep_to_be_read_are_not_written():
    tree = a(1)
    for _ in range(70):
        tree = [tree]
    with pytest.raises(ValueError, match="are nested 70 levels deep, a file can hold 64"):
        named(tree)
