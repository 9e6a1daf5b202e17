"""A table whose columns have units: standardised in training, in its own units wherever
a user sees it.
"""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny
from scipy import stats

import score_sde.configs.toy
from score_sde.cli.config_file import read_config
from score_sde.configs.default import section
from score_sde.experiments.builders import build, build_model, load_data
from score_sde.experiments.loading import load, saved_config
from score_sde.experiments.train import scale_warning

MEAN, STD = np.array([50000.0, 0.001]), np.array([12000.0, 0.0001])
TABLE = np.random.default_rng(0).normal(MEAN, STD, (1000, 2))
STANDARDIZED = ', "standardize": True'


def config_text(path, num_steps=3):
    data = f'{{"source": "npy:{path}"{STANDARDIZED}}}'
    text = tiny.TOY.replace('{"source": "mixture", "num_examples": 120, "seed": 1}', data)
    return text.replace('"num_steps": 30', f'"num_steps": {num_steps}')


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The workdir of a short run; to be read only."""
    folder = tmp_path_factory.mktemp("standardized")
    np.save(folder / "table.npy", TABLE)
    file = tiny.config_file(config_text(folder / "table.npy", 300), folder)
    more = (
        "training.batch_size=128",
        "optim.lr=0.01",
        "optim.warmup=10",
        "training.ema_decay=0.98",
    )
    more += ("model.hidden_sizes=(32,)", "training.eval_every=100", "training.checkpoint_every=100")
    tiny.run(
        "train",
        f"--config={file}",
        f"--workdir={folder / 'run'}",
        *(f"--config.{value}" for value in more),
    )
    return folder / "run"


@pytest.fixture
def workdir(trained, tmp_path):
    return tiny.copy_of(trained, tmp_path)


def toy_names():
    return sorted(
        path.stem
        for path in Path(score_sde.configs.toy.__file__).parent.glob("*.py")
        if path.stem[0] != "_"
    )


def arrays(path):
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def report(workdir):
    return json.loads((workdir / "report.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_samples_have_the_moments_of_the_data(workdir):
    """Within 0.3 standard deviations and 25 %: a short training of a tiny network, with
    fixed seeds.
    """
    tiny.run(
        "sample",
        f"--workdir={workdir}",
        "--num_samples=400",
        "--batch=400",
        "--config.sampling.num_steps=20",
    )
    samples = arrays(workdir / "samples" / "samples.npz")["samples"]
    assert samples.dtype == np.float32
    np.testing.assert_allclose((samples.mean(axis=0) - MEAN) / STD, 0.0, atol=0.3)
    np.testing.assert_allclose(samples.std(axis=0) / STD, 1.0, atol=0.25)
    rows = report(workdir)
    assert rows["distance: energy"].endswith("100 examples of each, standardised")
    assert (
        float(rows["distance: energy"].split()[0]) < 0.1
    )  # in data units it would be of the size of the first column


def test_likelihoods_are_near_the_true_densities(workdir):
    tiny.run(
        "likelihood",
        f"--workdir={workdir}",
        "--num_examples=64",
        "--batch=64",
        "--config.eval.rtol=1e-4",
    )
    found = arrays(workdir / "likelihood_test.npz")["log_prob"]
    examples = load_data(load(workdir).config).test[:64]
    truth = stats.norm.logpdf(examples, MEAN, STD).sum(axis=1)
    assert (
        abs(np.mean(found - truth)) < 0.3
    )  # nats; without the units of the data it is off by log 1.2 + 25 more
    entropy = np.log(2 * np.pi * np.e * STD.prod())
    assert abs(np.mean(found) + entropy) < 0.6


@pytest.mark.slow
def test_encoding_and_interpolation_keep_the_units(workdir):
    tiny.run("encode", f"--workdir={workdir}", "--num_examples=8", "--config.eval.rtol=1e-5")
    examples = load_data(load(workdir).config).test
    found = arrays(workdir / "latents" / "latents.npz")
    np.testing.assert_array_equal(found["levels"], examples[:8])
    assert np.abs(found["latent"]).max() < 6.0
    row = report(workdir)["reconstruction error"]
    assert float(row.split()[0]) < 0.02 and "standard deviations of the data" in row
    tiny.run(
        "interpolate",
        f"--workdir={workdir}",
        "--num_pairs=2",
        "--num_steps=3",
        "--config.eval.rtol=1e-5",
    )
    ends = arrays(workdir / "interpolation" / "interpolation.npz")["levels"][:, [0, -1]].reshape(
        4, 2
    )
    np.testing.assert_allclose((ends - examples[:4]) / STD, 0.0, atol=0.05)


def test_the_statistics_are_those_of_the_training_data_and_saved(trained):
    model = load(trained)
    train = load_data(model.config).train.astype(np.float64)
    assert len(train) == 900
    np.testing.assert_allclose(model.scaling.mean, train.mean(axis=0), rtol=1e-7)
    np.testing.assert_allclose(model.scaling.std, train.std(axis=0), rtol=1e-7)
    assert model.config["example"]["mean"] == list(model.scaling.mean)
    y = load_data(model.config).test[0]
    np.testing.assert_allclose(
        model.scaling.to_data(model.scaling.to_model(jax.random.key(0), y)), y, rtol=1e-6
    )


@pytest.mark.slow
def test_an_exported_model_needs_no_data_and_draws_the_same(workdir, tmp_path):
    tiny.run("export", f"--workdir={workdir}", f"--output={tmp_path / 'model'}")
    ours, theirs = load(workdir), load(tmp_path / "model")
    assert theirs.scaling == ours.scaling and theirs.scaling.standardized
    moved = json.loads((tmp_path / "model" / "model.json").read_text(encoding="utf-8"))
    moved["config"]["data"]["source"] = "npy:/nowhere.npy"
    (tmp_path / "model" / "model.json").write_text(json.dumps(moved), encoding="utf-8")
    for folder in (workdir, tmp_path / "model"):
        tiny.run("sample", f"--workdir={folder}", "--num_samples=8")
    ours, theirs = (
        arrays(folder / "samples" / "samples.npz")["samples"]
        for folder in (workdir, tmp_path / "model")
    )
    np.testing.assert_array_equal(ours, theirs)
    assert abs(np.median(ours[:, 0]) - 50000) < 4 * 12000


@pytest.mark.slow
def test_an_exported_sampler_draws_in_data_units(workdir, tmp_path):
    """To rounding: the same samples as those of the command, from one file that needs
    nothing of this package.
    """
    steps = "--config.sampling.num_steps=20"
    tiny.run("export", f"--workdir={workdir}", f"--sampler={tmp_path / 'sampler'}", steps)
    call = jax.jit(jax.export.deserialize(bytearray((tmp_path / "sampler").read_bytes())).call)
    found = np.asarray(call(np.uint32(0), np.arange(8, dtype=np.uint32)))
    tiny.run("sample", f"--workdir={workdir}", "--num_samples=8", steps)
    wanted = arrays(workdir / "samples" / "samples.npz")["samples"]
    np.testing.assert_allclose((found - wanted) / STD, 0.0, atol=1e-3)


@pytest.mark.slow
def test_a_resumed_run_has_the_bits_of_one_that_was_never_interrupted(tmp_path):
    np.save(tmp_path / "table.npy", TABLE)
    file = tiny.config_file(config_text(tmp_path / "table.npy"), tmp_path)
    for workdir, lengths in {"whole": (6,), "parts": (3, 6)}.items():
        for length in lengths:
            tiny.run(
                "train",
                f"--config={file}",
                f"--workdir={tmp_path / workdir}",
                f"--config.training.num_steps={length}",
            )
    whole, parts = load(tmp_path / "whole"), load(tmp_path / "parts")
    assert whole.step == parts.step == 6 and whole.scaling == parts.scaling
    jax.tree.map(np.testing.assert_array_equal, whole.params, parts.params)


@pytest.mark.slow
def test_a_run_does_not_go_on_with_data_of_other_statistics(tmp_path, usage_error):
    np.save(tmp_path / "table.npy", TABLE)
    train = (
        "train",
        f"--config={tiny.config_file(config_text(tmp_path / 'table.npy', 1), tmp_path)}",
    )
    train += (f"--workdir={tmp_path / 'run'}",)
    tiny.run(*train)
    assert "data.standardize=True where this config has None" in usage_error(
        *train, "--config.data.standardize=False"
    )
    np.save(tmp_path / "table.npy", TABLE + 1.0)
    assert "holds a run with example.mean=[" in usage_error(*train)


def test_a_trained_model_keeps_its_standardisation(trained, usage_error):
    line = usage_error("sample", f"--workdir={trained}", "--config.data.standardize=False")
    assert "data.standardize cannot be changed: the model was trained with standardize=True" in line
    line = usage_error("sample", f"--workdir={tiny.toy_run()}", "--config.data.standardize=True")
    assert (
        "data.standardize cannot be changed: the model was trained with standardize=False" in line
    )


def test_a_config_without_it_is_the_same_as_one_that_says_no(tmp_path):
    plain, no = tiny.config_of(tiny.TOY), tiny.config_of(tiny.TOY)
    no.data.standardize = False
    assert build(no).model.config == build(plain).model.config
    assert build(no).model.config["example"] == {"shape": [2], "num_levels": None}


WRONG = [
    (
        "digits/vp",
        "data.standardize=True",
        "data.standardize=True is for continuous data, these have 17 levels",
    ),
    ("experiment.py", "data.standardize=yes", "data.standardize='yes' must be True or False"),
    (
        "experiment.py",
        "data.source=npy:constant.npy",
        "data: standardize: column 1 of the training data is constant",
    ),
    ("experiment.py", "data.source=npy:broken.npy", "has a NaN or infinite value"),
    (
        "experiment.py",
        "data.source=npy:offset.npy",
        "column 0 of the training data has mean 1e+09 and standard dev",
    ),
]


@pytest.mark.parametrize(("config", "override", "message"), WRONG)
def test_what_cannot_be_standardised_is_a_usage_error(
    config, override, message, tmp_path, monkeypatch, usage_error
):
    monkeypatch.chdir(tmp_path)
    text = config_text("table.npy")
    tiny.config_file(text.replace("True", "None") if "yes" in override else text, tmp_path)
    np.save("table.npy", TABLE)
    np.save("constant.npy", np.stack([TABLE[:, 0], np.full(1000, 0.1)], axis=1))
    np.save("broken.npy", np.where(np.arange(1000)[:, None] == 5, np.nan, TABLE))
    np.save("offset.npy", TABLE * [0.01, 1.0] + [1e9, 0.0])
    assert message in usage_error(
        "train", f"--config={config}", "--workdir=run", f"--config.{override}"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("example", "message"),
    [
        ({"mean": [1.0, 2.0]}, "data: 2 means do not belong to 0 standard deviations"),
        (
            {"mean": [1.0, 2.0], "std": [1.0, 0]},
            "data.std=0.0 must be positive and finite",
        ),
        (
            {"mean": [1.0] * 3, "std": [1.0] * 3},
            "example: 3 means and standard deviations do not fit examples of shape",
        ),
        (
            {"mean": 5, "std": [1.0, 1.0]},
            "example.mean=5 must be a sequence of finite numbers",
        ),
        (
            {"mean": [1.0, 1.0], "std": ["1", None]},
            "example.std=['1', None] must be a sequence of finite numbers",
        ),
        ({}, "data.standardize cannot be changed: the model was trained with standardize=False"),
        (
            {"mean": [1.0] * 999, "std": [0.0] * 999},
            "data.std=0.0 must be positive and finite",
        ),
        (
            {"mean": ["1"] * 999, "std": [1.0] * 999},
            "example.mean=['1', '1', ",
        ),
    ],
)
def test_a_damaged_config_is_a_usage_error(example, message, trained):
    plain = saved_config(trained).to_dict()
    plain["example"] = {"shape": [2], "num_levels": None, **example}
    with pytest.raises(ValueError) as caught:
        build_model(plain, None, step=0)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_data_of_another_scale_are_warned_of_before_training(tmp_path):
    np.save(tmp_path / "table.npy", TABLE)
    file = tiny.config_file(
        config_text(tmp_path / "table.npy", 1).replace(STANDARDIZED, ""), tmp_path
    )
    text = tiny.run("train", f"--config={file}", f"--workdir={tmp_path / 'run'}")
    lines = [line for line in text.splitlines() if line.startswith("warning: ")]
    assert len(lines) == 1 and lines[0].endswith(
        "standardise them by --config.data.standardize=True"
    )
    start = "warning: the data do not suit the SDE: column 0 has mean "
    assert (
        lines[0].startswith(start)
        and abs(float(lines[0].removeprefix(start).split()[0]) - 50000) < 2000
    )
    assert text.index("warning: ") < text.index("train: 1/1 steps")


@pytest.mark.parametrize("name", ["default", *(f"toy/{name}" for name in toy_names())])
def test_our_own_configs_are_not_warned_of(name):
    with tiny.abstract_init():
        assert scale_warning(build(read_config(name))) is None


def test_standardised_data_have_a_scale_too(tmp_path):
    np.save(tmp_path / "table.npy", TABLE)
    config = tiny.config_of(config_text(tmp_path / "table.npy"))
    with tiny.abstract_init():
        assert scale_warning(build(config)) is None
        config.sde = section("brownian")
        assert "standardised data do not suit the SDE: column 0 has mean 0 and" in scale_warning(
            build(config)
        )
