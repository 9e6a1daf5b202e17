"""One table of kinds: `build` and `load` take each, and name the right one of a wrong one;
former names warn and work.
"""

import dataclasses

import jax
import numpy as np
import pytest
import tiny

import score_sde as ss
from score_sde.cli.config_file import read_config
from score_sde.experiments.kinds import KINDS, kind_of
from score_sde.export.model import export_model

CONFIGS = {
    "score model": "digits/vp",
    "classifier": "classifier/digits",
    "dequantizer": "dequantizer/digits",
}
CLASSES = {kind.name: kind for kind in KINDS}


def built(name, kind):
    with tiny.abstract_init():
        options = {}
        if name == "dequantizer":
            options["score_model"] = ss.build(read_config("digits/vp")).model
        return ss.build(read_config(CONFIGS[name]), kind, **options)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """An exported model of each kind."""
    found = {}
    for name in CONFIGS:
        model = built(name, ss.AnyExperiment).model
        found[name] = tmp_path_factory.mktemp("models") / "model"
        export_model(found[name], model.params, model.saved_config, step=3)
    return found


@pytest.mark.parametrize("name", CONFIGS)
def test_each_kind_is_built_and_loaded(name, folders):
    kind = CLASSES[name]
    assert kind_of(read_config(CONFIGS[name]).to_dict()) is kind
    for wanted in (kind.experiment, ss.AnyExperiment):
        assert type(built(name, wanted)) is kind.experiment
    for wanted in (kind.model, ss.TrainedModel):
        found = ss.load(folders[name], wanted)
        assert type(found) is kind.model and found.step == 3


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("other", CONFIGS)
def test_a_wrong_kind_is_an_error_with_the_name_of_the_right_one(name, other, folders):
    if name == other:
        return
    right, wrong = CLASSES[name], CLASSES[other]
    message = f"this is a {name}, not a {other}: load(path, {right.model.__name__}) takes it"
    with pytest.raises(ValueError) as error:
        ss.load(folders[name], wrong.model)
    assert str(error.value) == message
    with pytest.raises(ValueError) as error:
        built(name, wrong.experiment)
    assert str(error.value) == (
        f"this is a {name}, not a {other}: build(config, {right.experiment.__name__}) takes it"
    )


def test_a_dequantizer_needs_its_score_model():
    line = (
        r"^the objective makes this the config of a dequantizer, which needs a score model: [^\n]*$"
    )
    with pytest.raises(ValueError, match=line):
        ss.build(read_config("dequantizer/digits"), ss.DequantizerExperiment)
    with tiny.abstract_init():
        score_model = ss.build(read_config("digits/vp")).model
    with pytest.raises(ValueError, match=r"^score_model is for a dequantizer, and this is a score"):
        ss.build(read_config("digits/vp"), score_model=score_model)


def test_former_names_warn_and_work(folders):
    with tiny.abstract_init():
        with pytest.warns(DeprecationWarning, match=r"now score_sde\.build\(config, Classifier"):
            found = ss.build_classifier(read_config("classifier/digits"))
        assert isinstance(found, ss.ClassifierExperiment)
        score_model = ss.build(read_config("digits/vp")).model
        with pytest.warns(DeprecationWarning, match=r"score_model=model\)"):
            found = ss.build_dequantizer(read_config("dequantizer/digits"), score_model)
        assert isinstance(found, ss.DequantizerExperiment) and found.score_model is score_model
    with pytest.warns(DeprecationWarning, match=r"load\(path, NoisyClassifier\)"):
        assert isinstance(ss.load_classifier(folders["classifier"]), ss.NoisyClassifier)
    with pytest.warns(DeprecationWarning, match=r"load\(path, LearnedDequantizer\)"):
        assert isinstance(ss.load_dequantizer(folders["dequantizer"]), ss.LearnedDequantizer)


def test_a_table_of_classes_that_training_never_used_stays_unused():
    """As of runs of 0.1, whose ``model.num_classes`` had no effect on a score model."""
    config = tiny.config_of(tiny.TOY)
    config.model.num_classes = 8
    with tiny.abstract_init():
        plain = dict(ss.build(config).model.saved_config)
    plain["example"] = {"shape": [2], "num_levels": None}
    params = ss.build_model(plain, None, step=0).params
    assert ss.build_model(plain, None, step=0).condition is not None
    plain["example"] = {"shape": [2], "num_levels": None}
    model = ss.build_model(plain, params, step=1)
    assert model.condition is None and model.network.condition is not None
    assert np.isfinite(model.score_fn(jax.numpy.ones(2), 0.5)).all()
    with tiny.quick_compilation():
        assert ss.sample_many(jax.random.key(0), model, 3).shape == (3, 2)


MODEL_OF_CLASSES = dataclasses.replace(
    tiny.model_of(ss.VPSDE(), None, (2,)),
    transform=None,
    network=(network := ss.mlp(dim=2, hidden_sizes=(8,), embedding_dim=4, num_classes=3)),
    condition=network.condition,
    params=jax.tree.map(lambda leaf: leaf + 0.3, jax.jit(network.init)(jax.random.key(0))),
)


@pytest.mark.parametrize(
    ("condition", "line"),
    [
        (None, "this model is conditioned on a class label: give the condition of each sample"),
        (3, "takes a class label from 0 to 2, got 3"),
        (np.float32(1.0), r"takes a class label from 0 to 2, got float32\[\]"),
        (np.arange(2), r"takes a class label from 0 to 2, got int64\[2\]"),
    ],
)
def test_a_score_needs_the_condition_of_its_sample(condition, line):
    with pytest.raises(ValueError, match=line):
        MODEL_OF_CLASSES.score_fn_of(MODEL_OF_CLASSES.params, condition)


def test_an_unconditional_model_takes_no_condition():
    model = dataclasses.replace(MODEL_OF_CLASSES, condition=None)
    with pytest.raises(ValueError, match="was trained without conditions: give no condition"):
        model.score_fn_of(model.params, 1)


X, T = jax.numpy.array([0.3, -0.2]), 0.4


def stronger(of, params, label):
    main, weak = of(params["main"], label), of(params["weak"], label)
    return lambda x, t: 2.0 * main(x, t) - weak(x, t)


TWO = {
    "main": MODEL_OF_CLASSES.params,
    "weak": jax.tree.map(lambda leaf: 0.5 * leaf, MODEL_OF_CLASSES.params),
}


def test_a_transformed_score_takes_several_networks():
    model = MODEL_OF_CLASSES.with_score(stronger, TWO)
    of = MODEL_OF_CLASSES.score_fn_of
    wanted = 2.0 * of(TWO["main"], 2)(X, T) - of(TWO["weak"], 2)(X, T)
    np.testing.assert_array_equal(model.score_fn_of(TWO, 2)(X, T), wanted)
    assert model.params is TWO
    twice = model.with_score(lambda of, params, label: lambda x, t: 3.0 * of(params, label)(x, t))
    np.testing.assert_array_equal(twice.score_fn_of(TWO, 2)(X, T), 3.0 * wanted)
    with pytest.raises(ValueError, match=r"^present is for the score of the network"):
        model.score_fn_of(TWO, 2, present=True)


def test_guidance_is_a_transform_of_one_call():
    key, options = jax.random.key(1), {"sampler": ss.Heun(num_steps=3)}
    with tiny.quick_compilation():
        plain = ss.sample_many(key, MODEL_OF_CLASSES.with_score(stronger, TWO), 4, **options)
        guided = ss.sample_many(
            key, dataclasses.replace(MODEL_OF_CLASSES, params=TWO), 4, guidance=stronger, **options
        )
    np.testing.assert_array_equal(guided, plain)


def test_a_transformed_model_has_no_config_and_is_not_saved_without_its_transform(tmp_path):
    model = MODEL_OF_CLASSES.with_score(stronger, TWO)
    with pytest.raises(ValueError, match=r"^this needs a model with a config[^\n]*$"):
        model.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_other_conditions_and_calls_compile_nothing_anew():
    traces = []

    def counted(of, params, label):
        traces.append(1)
        return of(params, label)

    model = MODEL_OF_CLASSES.with_score(counted)
    options = {"sampler": ss.Heun(num_steps=3), "batch": 4}
    with tiny.quick_compilation():
        each = ss.sample_many(
            jax.random.key(0), model, 4, condition=np.array([0, 1, 2, 1]), **options
        )
        in_turn = ss.sample_many(jax.random.key(0), model, 4, **options)
        for label in range(3):
            same = ss.sample_many(jax.random.key(0), model, 4, condition=label, **options)
            np.testing.assert_array_equal(same[label], each[label])
    assert len(traces) == 1
    np.testing.assert_array_equal(in_turn[:3], each[:3])  # of the classes 0, 1, 2, 0
    assert not np.array_equal(in_turn[3], each[3])


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"num_samples": 0}, "^num_samples=0 must be at least 1"),
        ({"batch": 0}, "^batch=0 must be at least 1"),
        ({"condition": np.array([0, 1])}, "condition has 2 rows for num_samples=4"),
        ({"condition": 3}, "takes a class label from 0 to 2, got 3"),
        ({"condition": np.array([0, 1, 2, 3])}, "the conditions are from 0 to 3"),
    ],
)
def test_wrong_arguments_of_sample_many(options, line):
    with pytest.raises(ValueError, match=line):
        ss.sample_many(jax.random.key(0), MODEL_OF_CLASSES, **{"num_samples": 4, **options})
