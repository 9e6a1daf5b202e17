"""From configs to objects: the tables, and what is refused."""

import dataclasses
import inspect
import json

import jax
import numpy as np
import optax
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

from score_sde import SDE, VESDE, VPSDE, ExactTrace, Hutchinson, HutchPP, Sampler
from score_sde.cli.config_file import read_config
from score_sde.cli.leftovers import drop_leftovers
from score_sde.experiments import builders
from score_sde.experiments.builders import build, build_model, build_sde, construct, load_data
from score_sde.likelihood.dequantization import Dequantizer, TruncatedNormalDequantizer
from score_sde.likelihood.estimators import (
    DDPMEstimator,
    Estimator,
    FlowEstimator,
    VariationalEstimator,
)
from score_sde.models import Classifier, ConditionalFlow, ScoreNetwork, mlp
from score_sde.objectives import TimeSampling
from score_sde.parameterization import Parameterization
from score_sde.training import EMA, HalfLifeEMA, PowerEMA


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> ConfigDict:
    return read_config(str(tiny.config_file(tiny.TOY, tmp_path_factory.mktemp("config"))))


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
    "eval.divergence": (object, {}, {}),
    "eval.bound": (Estimator, {}, {}),
    "eval.dequantizer": (Dequantizer, {}, {}),
}


@pytest.mark.parametrize(
    ("section", "name"), [(section, name) for section in KINDS for name in builders.NAMED[section]]
)
def test_every_entry_of_every_table_is_made_with_its_defaults(section, name):
    kind, values, given = KINDS[section]
    kind = {
        **dict.fromkeys(builders.CLASSIFIERS, Classifier),
        **dict.fromkeys(builders.FLOWS, ConditionalFlow),
    }.get(name, kind)
    assert isinstance(construct(section, kind, {"name": name, **values}, **given), kind)


def test_every_table_is_covered():
    assert KINDS.keys() == builders.NAMED.keys()
    assert builders.SDES["ve"] is VESDE


@pytest.mark.parametrize("key", builders.FUNCTIONS)
def test_functions_are_chosen_by_name(key):
    section = {"weighting": "objective", "time_label": "parameterization"}.get(key, "sampling")
    name = {
        "objective": "denoising",
        "parameterization": "noise",
        "sampling": "predictor_corrector",
    }[section]
    for choice, function in builders.FUNCTIONS[key].items():
        assert getattr(construct(section, object, {"name": name, key: choice}), key) is function
        if not inspect.isfunction(function):
            continue  # a value that can be called, such as a grid with its parameters
        dotted = f"{function.__module__}:{function.__name__}"
        assert getattr(construct(section, object, {"name": name, key: dotted}), key) is function


def test_a_value_may_be_a_name_or_a_section_of_its_own(config):
    config = config.copy_and_resolve_references()
    for divergence, wanted in [
        ("exact", ExactTrace()),
        ({"name": "hutchinson", "num_probes": 3}, Hutchinson(num_probes=3)),
        ({"name": "hutchpp", "sketch_size": 3}, HutchPP(sketch_size=3)),
    ]:
        del config.eval.divergence
        config.eval.divergence = divergence
        with tiny.abstract_init():
            assert build(config).model.evaluating.divergence == wanted


@pytest.mark.parametrize(
    ("changes", "estimator", "dequantizer"),
    [
        (
            {"check_tolerance": True, "rtol": 1e-3},
            FlowEstimator(rtol=1e-3, atol=1e-5, check_tolerance=True),
            ...,
        ),
        (
            {"bound": {"name": "variational", "num_times": 7}},
            VariationalEstimator(num_times=7),
            ...,
        ),
        ({"bound": "variational", "dequantizer": None}, VariationalEstimator(), None),
        ({"bound": "variational", "dequantizer": "none"}, VariationalEstimator(), None),
        (
            {"dequantizer": {"name": "truncated_normal", "std": 0.3}},
            FlowEstimator(),
            TruncatedNormalDequantizer(std=0.3),
        ),
    ],
)
def test_how_likelihoods_are_estimated(changes, estimator, dequantizer):
    config = read_config("digits/vp").to_dict()
    config["eval"] = {"dequantizer": "uniform", **changes}
    with tiny.abstract_init():
        found = build(config).model.evaluating
    assert found.estimator == estimator
    assert dequantizer is ... or found.dequantizer == dequantizer


def test_the_bound_of_a_discrete_model():
    config = read_config("vp/ddpm/cifar10").to_dict()
    config["eval"]["bound"] = "ddpm"
    with tiny.abstract_init():
        assert build_model(config, None, step=0).evaluating.estimator == DDPMEstimator()


@pytest.mark.parametrize(
    ("sde", "changes", "message"),
    [
        ("vp", {"dequantizer": "none"}, "eval.dequantizer none needs eval.bound"),
        ("vp", {"num_dequantizations": 0}, "eval.num_dequantizations must be at least 1, got 0"),
        (
            "vp",
            {"bound": "ddpm"},
            "the bound ddpm is for models of 1000 levels with beta_min=0.1 and beta_max=20.0",
        ),
        (
            "vp",
            {"bound": {"name": "ddpm", "num_levels": 1000}},
            "num_levels=1000 must be less than num_scales=1000",
        ),
        (
            "vp",
            {"bound": "likelihood"},
            "unknown eval.bound 'likelihood'; known: variational, ddpm",
        ),
        (
            "vp",
            {"dequantizer": "unifrom"},
            "unknown eval.dequantizer 'unifrom', did you mean 'uniform'",
        ),
    ],
)
def test_what_estimates_no_likelihood_is_refused(sde, changes, message):
    config = read_config(f"digits/{sde}").to_dict()
    config["eval"] = changes
    with pytest.raises(ValueError, match=message), tiny.abstract_init():
        build(config)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HalfVP(VPSDE):
    """An SDE of a user's own."""

    half: float = 0.5


def own_network(shape, *, width: int = 4):
    """A network of a user's own."""
    return mlp(shape, hidden_sizes=(width,), embedding_dim=4)


def test_code_that_lives_elsewhere_is_named_with_its_module(config):
    config = config.copy_and_resolve_references()
    config.sde = ConfigDict({"name": f"{__name__}:HalfVP", "half": 0.25, "beta_max": 15.0})
    config.model = ConfigDict({"name": f"{__name__}:own_network", "width": 6})
    with tiny.abstract_init():
        model = build(config).model
    assert (model.sde.half, model.sde.beta_max, type(model.sde).__name__) == (0.25, 15.0, "HalfVP")
    assert {leaf.shape[-1] for leaf in jax.tree.leaves(model.params)} >= {6}
    with pytest.raises(ValueError, match="has no key 'widht', did you mean 'width'"):
        construct(
            "model", ScoreNetwork, {"name": f"{__name__}:own_network", "widht": 6}, shape=(2,)
        )


def test_what_is_no_sde_is_refused_where_one_is_expected():
    with pytest.raises(
        ValueError, match=r"^sde 'score_sde:Heun' gives Heun where SDE is expected$"
    ):
        construct("sde", SDE, {"name": "score_sde:Heun"})


def test_every_key_of_the_default_config_is_an_argument():
    config = read_config("default").to_dict()
    for section, table in builders.NAMED.items():
        values = config
        for part in section.split("."):
            values = values.get(part)
        if values is None:
            continue
        own = set(inspect.signature(table[values["name"]]).parameters)
        shared = (
            set(inspect.signature(builders.Drawing).parameters) if section == "sampling" else set()
        )
        assert values.keys() - {"name"} <= own | shared, section
    assert config["training"].keys() == set(inspect.signature(builders.Training).parameters)
    assert config["eval"].keys() <= set(inspect.signature(builders.Evaluating).parameters)
    assert config.keys() == set(builders.SECTIONS)


def test_averages_are_named_by_texts(config):
    config = config.copy_and_resolve_references()
    config.training.averages = (
        "power:0.05",
        "half_life:2000",
        "half_life:5e5,batch_size=128,ramp=0.05",
        "decay:0.9",
    )
    config.training.snapshot_every = 10
    with tiny.abstract_init():
        experiment = build(config)
    assert experiment.training.averages == (
        PowerEMA(sigma_rel=0.05),
        HalfLifeEMA(half_life=2000.0),
        HalfLifeEMA(half_life=5e5, batch_size=128, ramp=0.05),
        EMA(decay=0.9),
    )
    assert {type(average) for average in experiment.training.averages} == set(
        builders.AVERAGES.values()
    )
    assert experiment.model.config["training"]["averages"] == list(config.training.averages)


def test_the_resolved_config_is_plain_and_builds_the_same_again(config):
    with tiny.abstract_init():
        first = build(config)
        resolved = json.loads(json.dumps(first.model.config))
        second = build(resolved)
    assert resolved == first.model.config == second.model.config
    assert resolved["example"] == {"shape": [2], "num_levels": None}
    for part in (
        "sde",
        "parameterization",
        "sampler",
        "shape",
        "scaling",
        "drawing",
        "evaluating",
        "seed",
    ):
        assert getattr(first.model, part) == getattr(second.model, part)
    assert (first.objective, first.training) == (second.objective, second.training)
    assert (first.source.train == second.source.train).all()


def test_numbers_of_numpy_are_numbers_and_tuples_lists(config):
    config = config.to_dict()
    config["sde"]["beta_max"] = np.float32(10.0)
    config["model"]["hidden_sizes"] = (np.int64(4), 4)
    with tiny.abstract_init():
        resolved = build(config).model.config
    assert resolved["sde"]["beta_max"] == 10.0 and type(resolved["sde"]["beta_max"]) is float
    assert resolved["model"]["hidden_sizes"] == [4, 4]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("model.hidden_sizes", {1, 2}, "model.hidden_sizes must be a plain value, got set"),
        (
            "objective.weighting",
            print,
            "objective.weighting must be a plain value, got builtin_function_or_method",
        ),
        ("optim.lr", float("nan"), "optim.lr must be a finite number, got nan"),
        ("seed", True, "seed must be a whole number from 0 to 4294967295, got True"),
        ("seed", 2**32, "seed must be a whole number from 0 to 4294967295, got 4294967296"),
        ("sde", "vp", "sde must be a section of keys and values, got 'vp'"),
        ("data.source", 3, "data needs source: one of digits"),
        ("data.name", "digits", "data has no key 'name': its source is chosen by 'source'"),
        (
            "data.flip",
            True,
            "data.flip=True needs images [height, width, channels], the examples have shape (2,)",
        ),
        ("data.flip", "yes", "data.flip must be True or False, got 'yes'"),
        ("eval.t_min", 1.0, "eval.t_min=1.0 must be less than sde.t_max=1.0"),
    ],
)
def test_values_that_a_config_cannot_hold(path, value, message, config):
    plain = section = config.to_dict()
    *sections, key = path.split(".")
    for name in sections:
        section = section[name]
    section[key] = value
    with tiny.abstract_init(), pytest.raises(ValueError) as error:
        build(plain)
    assert str(error.value).startswith(message)


def paths(config, prefix=()):
    """All keys of a config, those of sections included."""
    for key, value in config.items():
        yield (*prefix, key)
        if isinstance(value, dict):
            yield from paths(value, (*prefix, key))


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 40),
    st.floats(),
    st.sampled_from(
        [
            "",
            "x",
            "vp",
            "heun",
            "exact",
            "uniform",
            "npz:none.npz",
            "folder:none",
            "math:sin",
            "a.b:c",
            ":",
        ]
    ),
    st.lists(st.integers(-1, 3) | st.text(max_size=2), max_size=3),
    st.dictionaries(
        st.sampled_from(["name", "num_steps", "x"]), st.integers(0, 3) | st.just("vp"), max_size=2
    ),
)


@st.composite
def mutated(draw, config):
    """A config with one to three keys deleted, renamed or replaced."""
    for _ in range(draw(st.integers(1, 3))):
        *sections, key = draw(st.sampled_from(list(paths(config))))
        section = config
        for name in sections:
            section = section[name]
        value = section.pop(key)
        change = draw(st.sampled_from(["delete", "rename", "replace", "replace", "replace"]))
        if change == "rename":
            section[draw(st.sampled_from([key[:-1], f"{key}s", "x", "name"]))] = value
        elif change == "replace":
            section[key] = draw(JUNK)
    return config


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, make in builders.NETWORKS.items()
        if "num_classes" in inspect.signature(make).parameters
    ],
)
def test_a_table_of_labels_that_no_label_reaches_is_refused(name, config):
    config = config.to_dict()
    config["model"] = {"name": name, "num_classes": 10}
    config["data"] = {"source": "npz:none.npz"}  # the line comes before the data are read
    with pytest.raises(
        ValueError,
        match=r"^model\.num_classes=10 would make a table of class labels that is never used",
    ):
        build(config)
    config["model"]["num_classes"] = None
    with pytest.raises(FileNotFoundError):
        build(config)


def test_a_model_with_such_a_table_is_loaded_and_an_own_network_may_have_one(config):
    """As from the workdir of an older version, or of a network of the user's own which
    takes the number.
    """
    plain = {**config.to_dict(), "example": {"shape": [2], "num_levels": None}}
    plain["model"] = {"name": "mlp", "hidden_sizes": [4], "embedding_dim": 4, "num_classes": 3}
    params = mlp((2,), hidden_sizes=(4,), embedding_dim=4, num_classes=3).init(jax.random.key(0))
    assert build_model(plain, params, step=1).params["condition"]["label"]["kernel"].shape == (3, 4)
    plain["model"] = {"name": f"{__name__}:own_conditional_network", "num_classes": 3}
    with tiny.abstract_init():
        build(plain)


def own_conditional_network(shape, *, num_classes: int):
    """A network of a user's own."""
    return mlp(shape, hidden_sizes=(num_classes,), embedding_dim=4)


def test_only_a_threshold_may_be_none():
    with pytest.raises(ValueError, match=r"objective\.time_sampling needs a name"):
        construct("objective", object, {"name": "denoising", "time_sampling": None})


@given(st.data())
@settings(max_examples=150)
def test_a_spoilt_config_is_refused_in_one_line_or_is_a_good_one(config, data):
    spoilt = data.draw(mutated(config.to_dict()))
    with tiny.abstract_init():
        try:
            experiment = build(spoilt)
        except (ValueError, FileNotFoundError) as error:
            assert str(error).strip() and "\n" not in str(error)
            return
    text = json.dumps(experiment.model.config, allow_nan=False)
    if "math:sin" in text:  # as a weighting, say: code that lives elsewhere is trusted to fit
        return
    example = experiment.source.train[0]
    loss, _ = jax.eval_shape(
        experiment.loss_fn(train=True), experiment.model.params, jax.random.key(0), 0.5, example
    )
    assert loss.shape == ()


def test_leftovers_of_another_name_are_dropped_and_what_was_asked_for_stays():
    before = {
        "sampling": {"name": "heun", "num_steps": 5, "grid": "uniform", "num_samples": 3, "typo": 1}
    }
    config = ConfigDict(before)
    config.sampling.name = "probability_flow"
    drop_leftovers(config, before, given={"sampling.name"})
    assert config.sampling.to_dict() == {"name": "probability_flow", "num_samples": 3, "typo": 1}
    config = ConfigDict(before)
    config.sampling.name = "probability_flow"
    drop_leftovers(config, before, given={"sampling.name", "sampling.num_steps"})
    assert "num_steps" in config.sampling and "grid" not in config.sampling
    config = ConfigDict({"sampling": {"name": "probability_flow", "num_steps": 5}})
    drop_leftovers(config, before, given={"sampling"})
    assert "num_steps" in config.sampling
    nested = {"eval": {"divergence": {"name": "hutchinson", "num_probes": 3, "kind": "gaussian"}}}
    config = ConfigDict(nested)
    config.eval.divergence.name = "exact"
    drop_leftovers(config, nested, given=())
    assert config.eval.divergence.to_dict() == {"name": "exact"}


def test_another_sampler_takes_its_own_default_grid():
    """The grid of Euler-Maruyama, uniform in t, ruins samplers in the noise level."""
    before = {"sampling": {"name": "euler_maruyama", "num_steps": 5, "grid": "uniform"}}
    config = ConfigDict(before)
    config.sampling.name = "exponential_shark"
    drop_leftovers(config, before, given={"sampling.name"})
    assert config.sampling.to_dict() == {"name": "exponential_shark", "num_steps": 5}
    config = ConfigDict({"sampling": {"name": "exponential_shark", "num_steps": 5, "grid": "edm"}})
    drop_leftovers(config, before, given={"sampling.name", "sampling.grid"})
    assert config.sampling.grid == "edm"


def test_another_source_takes_away_the_options_of_the_one_before():
    before = {
        "data": {
            "source": "lsun",
            "category": "bedroom",
            "image_size": 64,
            "flip": True,
            "path": "lsun",
        }
    }
    for source, kept in (
        ("folder:photos", {"image_size"}),
        ("svhn", {"image_size", "path"}),
        ("no source", set()),
    ):
        config = ConfigDict(before)
        config.data.source = source
        drop_leftovers(config, before, given={"data.source"})
        assert set(config.data) == {"source", "flip", *kept}
    config = ConfigDict(before)
    config.data.source = "folder:photos"
    drop_leftovers(config, before, given={"data.source", "data.category"})
    assert "category" in config.data


def test_nothing_is_dropped_for_the_same_name_and_an_unknown_one_is_refused():
    before = {"sampling": {"name": "heun", "num_steps": 5}, "sde": {"name": "vp", "beta_max": 3.0}}
    config = ConfigDict(before)
    drop_leftovers(config, before, given=())
    assert config.to_dict() == before
    config.sampling.name = "huen"
    with pytest.raises(ValueError, match="unknown sampling 'huen', did you mean 'heun'"):
        drop_leftovers(config, before, given=())


def test_parts_of_a_config_can_be_built_alone(config):
    assert build_sde(config) == VPSDE()
    assert load_data(config).train.shape == (108, 2)
    with tiny.abstract_init():
        plain = build(config).model.config
    first, second = (build_model(plain, None, step=0).params for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, second)
