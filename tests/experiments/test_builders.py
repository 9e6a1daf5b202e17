"""From configs to objects: the tables, and errors of a config."""

import dataclasses
import inspect
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from hypothesis import given, settings, strategies as st
from ml_collections import ConfigDict

from score_sde import VPSDE, ExactTrace, Hutchinson, HutchPP, from_equinox, load
from score_sde.cli.config_file import read_config
from score_sde.experiments import sections, tables
from score_sde.experiments.builders import build, build_model, build_sde, load_data
from score_sde.experiments.construction import construct
from score_sde.experiments.settings import EvaluationOptions, SamplingOptions, TrainingOptions
from score_sde.likelihood.dequantization import TruncatedNormalDequantizer
from score_sde.likelihood.estimators import (
    DDPMEstimator,
    FlowEstimator,
    VariationalEstimator,
)
from score_sde.models import ScoreNetwork, mlp
from score_sde.training import EMA, HalfLifeEMA, PowerEMA


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> ConfigDict:
    return read_config(str(tiny.config_file(tiny.TOY, tmp_path_factory.mktemp("config"))))


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
        ("vp", {"dequantizer": "none"}, "eval.dequantizer=none needs eval.bound"),
        ("vp", {"num_dequantizations": 0}, "eval.num_dequantizations=0 must be at least 1"),
        (
            "vp",
            {"bound": "ddpm"},
            "the bound ddpm is for models of 1000 levels with beta_min=0.1 and beta_max=20.0",
        ),
        (
            "vp",
            {"bound": {"name": "ddpm", "num_terms": 1000}},
            "num_terms=1000 must be less than num_scales=1000",
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
def test_settings_that_give_no_likelihood_are_errors(sde, changes, message):
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


def test_every_key_of_the_default_config_is_an_argument():
    config = read_config("default").to_dict()
    for section, table in tables.NAMED.items():
        values = config
        for part in section.split("."):
            values = values.get(part)
        if values is None:
            continue
        own = set(inspect.signature(table[values["name"]]).parameters)
        shared = (
            set(inspect.signature(SamplingOptions).parameters) if section == "sampling" else set()
        )
        assert values.keys() - {"name"} <= own | shared, section
    assert config["training"].keys() == set(inspect.signature(TrainingOptions).parameters)
    assert config["eval"].keys() <= set(inspect.signature(EvaluationOptions).parameters)
    assert config.keys() == set(sections.SECTIONS)


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
        tables.AVERAGES.values()
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
        ("optim.lr", float("nan"), "optim.lr=nan must be a finite number"),
        ("seed", True, "seed=True must be a whole number from 0 to 4294967295"),
        ("seed", 2**32, "seed=4294967296 must be a whole number from 0 to 4294967295"),
        ("sde", "vp", "sde='vp' must be a section of keys and values"),
        ("data.source", 3, "data.source=3 must be one of digits"),
        ("data.name", "digits", "data has no key 'name': its source is chosen by 'source'"),
        (
            "data.flip",
            True,
            "data.flip=True needs images [height, width, channels], the examples have shape (2,)",
        ),
        ("data.flip", "yes", "data.flip='yes' must be True or False"),
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
        for name, make in tables.NETWORKS.items()
        if "num_classes" in inspect.signature(make).parameters
    ],
)
def test_a_network_of_classes_needs_data_with_labels(name, config):
    """In one line, before anything compiles; the mixture has none, the digits have ten."""
    config = config.to_dict()
    small = {"hidden_sizes": (4,), "embedding_dim": 4} if name == "mlp" else {}
    config["model"] = {"name": name, "num_classes": 10, **small}
    line = (
        r"is conditioned on a class label, and the data have no labels: remove model\.num_classes"
    )
    with tiny.abstract_init():
        if name == "mlp":  # the others take no points
            config["data"] = {"source": "swiss_roll"}
            with pytest.raises(ValueError, match=line):
                build(config)
        config["data"] = {"source": "digits"}
        assert build(config).model.config["example"]["conditional"] is True
        config["model"]["num_classes"] = 9
        with pytest.raises(
            ValueError, match="num_classes=9 takes class labels from 0 to 8, the train data are"
        ):
            build(config)
        config["model"]["num_classes"] = None
        assert "conditional" not in build(config).model.config["example"]


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


class OwnModule(eqx.Module):
    """A network of a user's own in equinox, with parameters in a tuple."""

    scale: jax.Array
    shifts: tuple[jax.Array, ...]

    def __call__(self, x, t):
        return t * self.scale * x + self.shifts[0]


def own_module(shape):
    """A network whose parameters are a module."""
    return from_equinox(lambda key: OwnModule(jnp.ones(shape), (jnp.zeros(shape),)))


def own_lists(shape):
    """A network whose parameters are in lists, under keys of which two make one name."""

    def init(key):
        del key
        layers = [jnp.ones(shape), (jnp.zeros(shape), None)]
        return {"layers": layers, "a/b": jnp.ones(shape), "a": {"b": jnp.ones(shape)}}

    def apply(params, x, t, **options):
        scale, (shift, nothing) = params["layers"]
        assert isinstance(params["layers"], list) and nothing is None
        return x * scale * params["a/b"] + shift + t[:, None] * params["a"]["b"]

    return ScoreNetwork(init=init, apply=apply)


@pytest.mark.parametrize("network", [own_module, own_lists])
def test_parameters_from_a_file_get_the_containers_of_the_network(network, config, tmp_path):
    plain = {**config.to_dict(), "example": {"shape": [2], "num_levels": None}}
    plain["model"] = {"name": f"{__name__}:{network.__name__}"}
    params = network((2,)).init(jax.random.key(0))
    model = build_model(plain, params, step=1)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model", allow=__name__)
    assert jax.tree.structure(again.params) == jax.tree.structure(params)
    x = jnp.ones(2)
    np.testing.assert_array_equal(again.score_fn(x, 0.5), model.score_fn(x, 0.5))
    # A checkpoint has lists for tuples, and dictionaries for modules.
    loose = {"scale": params.scale, "shifts": list(params.shifts)} if network is own_module else {
        **params, "layers": [params["layers"][0], list(params["layers"][1])]
    }  # fmt: skip
    found = build_model(plain, loose, step=1).params
    assert jax.tree.structure(found) == jax.tree.structure(params)


@given(st.data())
@settings(max_examples=150)
def test_a_spoilt_config_is_an_error_of_one_line_or_a_good_one(config, data):
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
        tiny.loss_of(experiment, train=True),
        experiment.model.params,
        jax.random.key(0),
        0.5,
        example,
    )
    assert loss.shape == ()


def test_parts_of_a_config_can_be_built_alone(config):
    assert build_sde(config) == VPSDE()
    assert load_data(config).train.shape == (108, 2)
    with tiny.abstract_init():
        plain = build(config).model.config
    first, second = (build_model(plain, None, step=0).params for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, second)
