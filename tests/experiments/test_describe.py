"""The config of objects is the inverse of the builders, for every entry of the tables."""

import dataclasses

import jax
import numpy as np
import pytest
import tiny

import score_sde as ss
from score_sde.experiments import tables
from score_sde.experiments.construction import call, construct
from score_sde.experiments.describe import UnnamedError, _options, _section, described
from score_sde.experiments.settings import EvaluationOptions, SamplingOptions
from score_sde.likelihood.estimators import VariationalEstimator
from score_sde.objectives import LogNormalNoise, MinSNR, ScoreMatching
from score_sde.parameterization import Parameterization
from score_sde.runtime.trust import EVERYTHING
from score_sde.sampling import Sampler, StaticThreshold
from score_sde.sdes import SDE
from score_sde.solvers import EDMGrid, Nodes

KINDS = {
    "sde": SDE,
    "parameterization": Parameterization,
    "objective": ScoreMatching,
    "sampling": Sampler,
}

OTHERS = ("classification", "dequantization")
"""The objectives of other kinds of models."""


def another(section, field, value):
    """A value of a field that is not its default; the default where none is near."""
    if field.name in tables.FUNCTIONS:
        table = tables.FUNCTIONS[field.name]
        return next(entry for entry in reversed(table.values()) if entry != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    return value * 0.99 if isinstance(value, float) else value


def variants(section, name):
    """The default object of an entry, and those with one attribute of another value."""
    made = construct(section, KINDS[section], {"name": name})
    found = [made]
    for field in dataclasses.fields(made):
        value = getattr(made, field.name)
        other = another(section, field, value)
        try:
            found += [] if other == value else [dataclasses.replace(made, **{field.name: other})]
        except ValueError:
            continue  # this attribute takes few values
    return found


ENTRIES = [
    (section, name) for section in KINDS for name in tables.NAMED[section] if name not in OTHERS
]


@pytest.mark.parametrize(("section", "name"), ENTRIES)
def test_an_object_is_rebuilt_from_its_section(section, name):
    objects = variants(section, name)
    assert len(objects) > 1 or not dataclasses.fields(objects[0])
    for wanted in objects:
        found = construct(section, KINDS[section], _section(section, wanted))
        assert type(found) is type(wanted) and found == wanted


@pytest.mark.parametrize(
    ("section", "wanted"),
    [
        ("sampling", ss.Heun(grid=Nodes(times=(1.0, 0.5, 0.001)))),
        ("sampling", ss.Heun(grid=EDMGrid(rho=5.0))),
        ("sampling", ss.EDM(churn=3.0, churn_max=50.0)),
        ("sde", ss.DiscreteVPSDE(betas=(0.1, 0.2, 0.3), num_scales=3)),
        (
            "objective",
            ss.DenoisingScoreMatching(
                weighting=MinSNR(gamma=3.0), time_sampling=LogNormalNoise(mean=-0.5)
            ),
        ),
        ("objective", ss.ExplicitScoreMatching(divergence=ss.Hutchinson(num_probes=3))),
    ],
)
def test_values_inside_of_an_object_are_rebuilt(section, wanted):
    assert construct(section, KINDS[section], _section(section, wanted)) == wanted


def test_a_number_that_no_config_can_say_has_no_section():
    with pytest.raises(UnnamedError):
        _section("sampling", ss.EDM(churn_min=float("inf")))


@pytest.mark.parametrize(
    ("section", "wanted"),
    [
        (
            "sampling",
            SamplingOptions(
                num_samples=3, denoise=False, threshold=StaticThreshold(), classes=(1, 0)
            ),
        ),
        (
            "eval",
            EvaluationOptions(
                max_examples=4, divergence=ss.ExactTrace(), bound=VariationalEstimator()
            ),
        ),
        (
            "eval",
            EvaluationOptions(dequantizer=ss.TruncatedNormalDequantizer(), num_dequantizations=3),
        ),
        ("eval", EvaluationOptions(dequantizer=None, bound=VariationalEstimator())),
    ],
)
def test_settings_are_rebuilt(section, wanted):
    assert call(section, type(wanted), _options(section, wanted), trust=EVERYTHING) == wanted


NETWORKS = {
    "mlp": {"hidden_sizes": [8], "embedding_dim": 4, "num_classes": 3},
    "unet": {"channels": 8, "channel_mult": (1,), "num_classes": 2},
    "ddpm": {"nf": 8, "ch_mult": (1, 2), "num_groups": 4, "num_res_blocks": 1},
    "ncsnpp": {"nf": 8, "ch_mult": (1, 2), "num_res_blocks": 1},
    "ncsn": {"nf": 8, "num_scales": 3},
    "ncsnv2": {"nf": 8, "num_scales": 3},
}


@pytest.mark.parametrize("name", tables.NETWORKS)
def test_a_network_remembers_what_makes_it(name):
    shape = (2,) if name == "mlp" else (8, 8, 1)
    made = tables.NETWORKS[name](shape, **NETWORKS[name])
    again = construct("model", type(made), dict(made.section), shape=shape)
    assert again.section == made.section and again.condition == made.condition
    shapes = [jax.eval_shape(network.init, jax.random.key(0)) for network in (made, again)]
    assert shapes[0] == shapes[1]


def test_what_is_in_no_table_makes_the_whole_config_none():
    model = tiny.model_of(ss.VPSDE(), lambda params: lambda x, t: -x, (2,))
    objective = ss.DenoisingScoreMatching()
    assert described(model, objective=objective) is None
    named = dataclasses.replace(model, network=ss.mlp(dim=2))
    assert described(named, objective=objective) is not None
    own = dataclasses.replace(named, sampler=ss.Heun(grid=lambda sde, n: np.linspace(1, 0.1, n)))
    assert described(own, objective=objective) is None
