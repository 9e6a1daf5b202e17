"""Texts of configs and what they mean."""

import json

import pytest
import tiny

from score_sde.experiments.meaning import differences, meaning, stated, trust_in_code_of
from score_sde.runtime.trust import NOTHING

SAME = [
    ("sde", {"name": "score_sde.sdes:VESDE", "sigma_max": 50}, {"name": "ve"}),
    ("sde", {"name": "discrete_vp", "num_levels": 10}, {"name": "discrete_vp", "num_scales": 10}),
    (
        "sampling",
        {"name": "heun", "num_steps": 5, "threshold": "none"},
        {"name": "heun", "num_steps": 5},
    ),
    (
        "sampling",
        {"name": "predictor_corrector", "num_steps": 5, "grid": [1.0, 0.5]},
        {"name": "predictor_corrector", "num_steps": 5, "grid": [1, 0.5]},
    ),
    (
        "sampling",
        {"name": "heun", "threshold": "static"},
        {"name": "heun", "threshold": {"name": "static"}},
    ),
    ("training", {"averages": ["power:0.050"], "num_steps": 10_000}, {"averages": ["power:0.05"]}),
    ("eval", {"divergence": {"name": "hutchinson"}, "rtol": 1e-5}, {}),
    ("data", {"source": "digits", "flip": False}, {"source": "digits"}),
    ("example", {"shape": [2], "conditional": False}, {"shape": [2]}),
    ("seed", 1, 1),
]


def trust(*sections):
    return trust_in_code_of({"sde": sections[0], "sampling": sections[1]})


@pytest.mark.parametrize(("section", "first", "second"), SAME)
def test_texts_of_one_meaning(section, first, second):
    allowed = trust(first, second) if section == "sde" else NOTHING
    assert list(differences(section, first, second, allowed)) == []
    assert stated(section, first, allowed) == stated(section, second, allowed)


DIFFERENT = [
    ("sde", {"name": "ve"}, {"name": "vp"}, ("sde.name", "ve", "vp")),
    ("sde", {"name": "ve"}, {"name": "ve", "sigma_max": 9}, ("sde.sigma_max", 50.0, 9)),
    ("sde", {"name": "os:system"}, {"name": "ve"}, ("sde.name", "os:system", "ve")),
    ("sde", {"name": "ve", "later": 1}, {"name": "ve"}, ("sde.later", 1, None)),
    (
        "eval",
        {"divergence": {"name": "hutchinson", "num_probes": 2}},
        {},
        ("eval.divergence.num_probes", 2, 1),
    ),
    ("data", {"source": "digits", "flip": True}, {"source": "digits"}, ("data.flip", True, False)),
    ("seed", 1, 2, ("seed", 1, 2)),
]


@pytest.mark.parametrize(("section", "first", "second", "found"), DIFFERENT)
def test_texts_of_another_meaning_and_the_key_that_differs(section, first, second, found):
    assert next(differences(section, first, second)) == found
    assert stated(section, first) != stated(section, second)


def test_code_that_is_not_trusted_is_not_imported(monkeypatch):
    monkeypatch.setattr("importlib.import_module", pytest.fail)
    section = {"name": "heun", "guidance": {"name": "foreign_module:make"}}
    assert stated("sampling", section) == section
    list(differences("sampling", section, {"name": "heun"}))


@pytest.mark.parametrize("text", [tiny.TOY, tiny.DIGITS])
def test_a_section_means_what_its_meaning_means(text):
    config = json.loads(json.dumps(tiny.config_of(text).to_dict()))
    for section, values in config.items():
        found = meaning(section, values)
        assert list(differences(section, values, found)) == []
        assert stated(section, found) == stated(section, values)
