"""Every published config: it builds, names its own command, and trains."""

from pathlib import Path

import jax
import numpy as np
import pytest
import tiny
from data_sets import write_cifar10
from oracles import slow_but

import score_sde.configs
from score_sde.cli.config_file import read_config
from score_sde.configs.paper import PARAMETERS
from score_sde.experiments.builders import build, build_model, load_data
from score_sde.experiments.classifier import ClassifierExperiment
from score_sde.experiments.dequantizer import DequantizerExperiment
from score_sde.experiments.loading import load

FOLDER = Path(score_sde.configs.__file__).parent
NAMES = sorted(
    str(path.relative_to(FOLDER).with_suffix(""))
    for path in FOLDER.rglob("*.py")
    if path.stem
    not in ("__init__", "paper")  # what the published experiments have in common is none itself
)
PUBLISHED = [name for name in NAMES if name.split("/")[0] in ("ve", "vp", "subvp")]
CLASSIFIERS = [name for name in NAMES if name.split("/")[0] == "classifier"]
DEQUANTIZERS = [name for name in NAMES if name.split("/")[0] == "dequantizer"]
OURS = [name for name in NAMES if name not in (*PUBLISHED, *CLASSIFIERS, *DEQUANTIZERS)]
IMAGES = [name for name in NAMES if name.split("/")[0] in ("default", "digits")]


def test_there_are_the_promised_configs():
    assert {"default", "digits/vp", "digits/subvp", "digits/ve"} <= set(NAMES)
    assert any(name.startswith("toy/") for name in NAMES)


@pytest.mark.parametrize("name", OURS)
def test_a_config_builds_and_its_loss_and_sampler_fit_its_data(name):
    with tiny.abstract_init():
        experiment = build(read_config(name))
    model, key = experiment.model, jax.random.key(0)
    conditions = experiment.conditions("train")
    condition = jax.tree.map(lambda values: values[0], conditions)
    loss, _ = jax.eval_shape(
        tiny.loss_of(experiment, train=True),
        model.params,
        key,
        0.5,
        experiment.source.train[0],
        condition,
    )
    assert loss.shape == ()
    drawn = jax.eval_shape(
        lambda params: model.sampler.solve(
            key, model.sde, model.score_fn_of(params, condition), jax.numpy.zeros(model.shape)
        ),
        model.params,
    )
    assert drawn.x.shape == model.shape


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("classifier/digits", 88_570),
        ("classifier/cifar10_ve", 38_913_242),
        ("classifier/cifar10_published", 38_913_242),
    ],
)
def test_a_classifier_builds_and_its_loss_fits_its_data(name, parameters, tmp_path):
    config = read_config(name)
    if name != "classifier/digits":
        write_cifar10(tmp_path)
        config.data.path = str(tmp_path)
    with tiny.abstract_init():
        experiment = build(config, ClassifierExperiment)
    count = sum(leaf.size for leaf in jax.tree.leaves(experiment.model.params))
    assert count == parameters
    key, source = jax.random.key(0), experiment.source
    loss, aux = jax.eval_shape(
        tiny.loss_of(experiment, train=True),
        experiment.model.params,
        key,
        0.5,
        source.train[0],
        source.train_labels[0],
    )
    assert loss.shape == aux["accuracy"].shape == ()


@pytest.mark.parametrize("name", DEQUANTIZERS)
def test_a_dequantizer_builds_and_its_loss_fits_its_data(name):
    with tiny.abstract_init():
        score_model = build(read_config("digits/vp")).model
        experiment = build(read_config(name), DequantizerExperiment, score_model=score_model)
    params, example = experiment.model.params, experiment.source.train[0]
    frozen, key = score_model.params, jax.random.key(0)
    loss, aux = jax.eval_shape(
        lambda params, example: tiny.loss_of(experiment, train=True)(
            params, key, 0.5, example, frozen=frozen
        ),
        params,
        example,
    )
    assert loss.shape == () and aux == {}


def test_every_classifier_is_tested():
    names = ("cifar10_published", "cifar10_ve", "digits")
    assert [f"classifier/{name}" for name in names] == CLASSIFIERS


@pytest.mark.parametrize("name", [name for name in NAMES if name != "default"])
def test_a_config_says_how_to_run_it(name):
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    if name in DEQUANTIZERS:
        assert (
            f" --config=configs/{name}.py" in text
            and "score-sde train-dequantizer --workdir=runs/" in text
        )
    else:
        assert f"score-sde train --config=configs/{name}.py --workdir=runs/" in text


def smaller(name):
    common = [
        "training.num_steps=2",
        "training.batch_size=8",
        "training.eval_every=2",
        "training.sample_every=0",
    ]
    common += ["training.checkpoint_every=2", "training.log_every=1"]
    network = (
        ["model.channels=4", "model.channel_mult=1"] if name in IMAGES else ["model.hidden_sizes=8"]
    )
    return [f"--config.{change}" for change in (*common, *network)]


QUICK = ("toy/mixture",)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in OURS]
)
def test_a_config_trains(name, tmp_path):
    text = tiny.run("train", f"--config={name}", f"--workdir={tmp_path / 'run'}", *smaller(name))
    assert "trained  2 steps" in text
    assert load(tmp_path / "run").step == 2


def test_every_published_experiment_is_there():
    assert len(PUBLISHED) == 39 and set(PARAMETERS) == set(PUBLISHED)
    # As the published code states them.
    assert PARAMETERS["ve/cifar10_ncsnpp_continuous"] == 62_758_915
    assert PARAMETERS["vp/cifar10_ddpmpp_continuous"] == 61_804_419


DATA_SETS = {
    "cifar10": ("cifar10", None),
    "celebahq": ("celebahq", None),
    "celeba": ("celeba", None),
    "ffhq": ("ffhq", None),
    "bedroom": ("lsun", "bedroom"),
    "church": ("lsun", "church_outdoor"),
}
"""By how the name of a published config starts: its data, and their category."""

TRACED = ("vp/cifar10_ddpmpp_continuous", "ve/ncsnv2/cifar10")
"""What the fast tests trace: a network with labels of time, and one with levels."""


@pytest.mark.parametrize("name", slow_but(PUBLISHED, *TRACED))
def test_a_published_config_builds_at_full_size(name):
    """Network, score and sampler of the size of the paper, traced and not run; the data
    are not needed.
    """
    config = read_config(name)
    with tiny.abstract_init():
        model = build_model(config, None, step=0)
    count = sum(leaf.size for leaf in jax.tree.leaves(model.params))
    assert count == PARAMETERS[name]
    shape = model.shape
    output = jax.eval_shape(
        lambda params, x, t: model.score_fn_of(params)(x, t),
        model.params,
        jax.ShapeDtypeStruct(shape, np.float32),
        jax.ShapeDtypeStruct((), np.float32),
    )
    assert output.shape == shape
    assert model.sampler.num_steps == config.sampling.num_steps
    assert config.data.get("image_size", 32) == shape[0] and config.data.flip is True


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_config_names_its_data_and_says_how_to_get_them(name, tmp_path, monkeypatch):
    monkeypatch.setenv("SCORE_SDE_DATA", str(tmp_path))
    config = read_config(name)
    data_set = next(
        data_set for data_set in DATA_SETS if name.rpartition("/")[2].startswith(data_set)
    )
    assert (config.data.source, config.data.get("category")) == DATA_SETS[data_set]
    with pytest.raises(
        FileNotFoundError, match=rf"^no .* in {tmp_path / config.data.source}: "
    ) as error:
        load_data(config)
    assert "\n" not in str(error.value)


def test_a_published_experiment_builds_with_its_data(tmp_path):
    images, _ = write_cifar10(tmp_path / "cifar-10-batches-bin")
    config = read_config("ve/cifar10_ncsnpp_continuous")
    config.data.path = str(tmp_path)
    with tiny.abstract_init():
        experiment = build(config)
    np.testing.assert_array_equal(experiment.source.train, images[:15])
    assert experiment.augmentation.flip and experiment.model.shape == tuple(config.example.shape)


def distinct_networks():
    """The first published experiment of each network and size of image."""
    configs = {name: read_config(name) for name in PUBLISHED}
    kinds = {
        name: f"{config.example.shape} {config.model.to_json(sort_keys=True)}"
        for name, config in configs.items()
    }
    return [
        name
        for i, name in enumerate(PUBLISHED)
        if kinds[name] not in [kinds[other] for other in PUBLISHED[:i]]
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", distinct_networks())
def test_a_published_network_runs_at_full_size(name):
    """One image through every distinct network; small random parameters, for most start
    with zeros in places.
    """
    with tiny.abstract_init():
        model = build_model(read_config(name), None, step=0)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: 0.02 * rng.standard_normal(leaf.shape, np.float32), model.params
    )
    image = rng.standard_normal(model.shape, np.float32)
    score = jax.jit(lambda params, x: model.score_fn_of(params)(x, 0.5))(params, image)
    assert score.shape == model.shape and np.isfinite(score).all() and np.std(score) > 0.0
