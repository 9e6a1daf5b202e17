"""From sections to objects: the tables, and errors of a section."""

import dataclasses
import inspect
import sys

import optax
import pytest

from score_sde import SDE, VESDE, Sampler
from score_sde.conditioning.guidance import Guidance
from score_sde.experiments import tables
from score_sde.experiments.construction import construct
from score_sde.likelihood.dequantization import Dequantizer
from score_sde.likelihood.estimators import (
    Estimator,
)
from score_sde.models import Classifier, ConditionalFlow, ScoreNetwork
from score_sde.objectives import TimeSampling
from score_sde.parameterization import Parameterization

KINDS = {
    "sde": (SDE, {}, {}),
    "model": (ScoreNetwork, {}, {"shape": (8, 8, 1)}),
    "parameterization": (Parameterization, {}, {}),
    "objective": (object, {}, {}),
    "objective.time_sampling": (TimeSampling, {}, {}),
    "objective.divergence": (object, {}, {}),
    "optim": (optax.GradientTransformation, {"lr": 1e-3}, {}),
    "sampling": (Sampler, {}, {}),
    "sampling.threshold": (object, {}, {}),
    "sampling.guidance": (Guidance, {}, {}),  # of the user's own so far
    "eval.divergence": (object, {}, {}),
    "eval.bound": (Estimator, {}, {}),
    "eval.dequantizer": (Dequantizer, {}, {}),
}


@pytest.mark.parametrize(
    ("section", "name"), [(section, name) for section in KINDS for name in tables.NAMED[section]]
)
def test_every_entry_of_every_table_is_made_with_its_defaults(section, name):
    kind, values, given = KINDS[section]
    kind = {
        **dict.fromkeys(tables.CLASSIFIERS, Classifier),
        **dict.fromkeys(tables.FLOWS, ConditionalFlow),
    }.get(name, kind)
    assert isinstance(construct(section, kind, {"name": name, **values}, **given), kind)


def test_every_table_is_covered():
    assert KINDS.keys() == tables.NAMED.keys()
    assert tables.SDES["ve"] is VESDE


@pytest.mark.parametrize("key", tables.FUNCTIONS)
def test_functions_are_chosen_by_name(key):
    section = {"weighting": "objective", "time_label": "parameterization"}.get(key, "sampling")
    name = {
        "objective": "denoising",
        "parameterization": "noise",
        "sampling": "predictor_corrector",
    }[section]
    for choice, function in tables.FUNCTIONS[key].items():
        assert getattr(construct(section, object, {"name": name, key: choice}), key) is function
        value = function() if inspect.isclass(function) else function
        alone = construct(section, object, {"name": name, key: {"name": choice}})
        assert getattr(alone, key) == value
        if not inspect.isfunction(function):
            continue  # a value that can be called, such as a grid with its parameters
        dotted = f"{function.__module__}:{function.__name__}"
        assert getattr(construct(section, object, {"name": name, key: dotted}), key) is function


@dataclasses.dataclass(frozen=True)
class OwnWeighting:
    """A weighting of the user's own, with a parameter."""

    power: float = 2.0

    def __call__(self, sde, t):
        return sde.marginal(t).sigma ** self.power


@dataclasses.dataclass(frozen=True)
class NeedsPower(OwnWeighting):
    """Its parameter has no default."""

    power: float = dataclasses.field()


def test_a_class_in_place_of_a_function_gives_its_value(monkeypatch):
    monkeypatch.setitem(sys.modules, "own_weighting", sys.modules[__name__])

    def weighting(value):
        values = {"name": "denoising", "weighting": value}
        return construct("objective", object, values).weighting

    assert weighting("own_weighting:OwnWeighting") == OwnWeighting()
    assert weighting({"name": "own_weighting:NeedsPower", "power": 3}) == NeedsPower(3.0)
    message = r"^objective.weighting 'own_weighting:NeedsPower' needs power$"
    for value in ("own_weighting:NeedsPower", {"name": "own_weighting:NeedsPower"}):
        with pytest.raises(ValueError, match=message):
            weighting(value)


def test_another_object_is_an_error_where_an_sde_is_expected():
    with pytest.raises(
        ValueError, match=r"^sde 'score_sde:Heun' gives Heun where SDE is expected$"
    ):
        construct("sde", SDE, {"name": "score_sde:Heun"})


def test_only_a_threshold_may_be_none():
    with pytest.raises(ValueError, match=r"objective\.time_sampling needs a name"):
        construct("objective", object, {"name": "denoising", "time_sampling": None})
