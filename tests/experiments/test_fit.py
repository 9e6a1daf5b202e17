"""Training from arrays: the run of the command line without its files."""

import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

import score_sde as ss
from score_sde.cli import main
from score_sde.data import DataSource
from score_sde.experiments.builders import build
from score_sde.experiments.construction import construct
from score_sde.experiments.train import training_run
from score_sde.models import Arrays, ClassLabel, ScoreNetwork
from score_sde.training import Hook, adam, device_mesh, train

SDE, KEY = ss.VPSDE(), jax.random.key(0)
X = np.random.default_rng(0).normal(size=(64, 2))
QUICK = {"num_steps": 3, "batch_size": 16, "progress": False}


def small(**options):
    return ss.mlp(dim=2, hidden_sizes=(8,), embedding_dim=4, **options)


def fitted(network=None, data=X, **options):
    with tiny.quick_compilation():
        return ss.fit(KEY, SDE, network or small(), data, **{**QUICK, **options})


@pytest.fixture(scope="module")
def of_classes():
    return fitted(small(num_classes=3), condition=np.arange(64) % 3)


def test_it_is_the_training_of_the_command_line_bit_for_bit(tmp_path):
    config = tiny.config_of(tiny.TOY)
    config.seed = 3
    config.training.num_steps = 5
    config.training.eval_every = 0
    with tiny.quick_compilation():
        experiment = build(config)
        run = training_run(experiment, tmp_path, device_mesh(), {})
        with run.checkpoints:
            wanted = train(run).state.ema_params
        run.writer.close()
        model = experiment.model
        found = ss.fit(
            jax.random.key(3),
            model.sde,
            model.network,
            experiment.source,
            num_steps=5,
            batch_size=config.training.batch_size,
            optimizer=experiment.optimizer,
            objective=experiment.objective,
            parameterization=model.parameterization,
            ema_decay=experiment.training.ema_decay,
            progress=False,
        )
    assert found.step == 5 and found.seed == 3
    jax.tree.map(np.testing.assert_array_equal, found.params, wanted)


def test_a_model_of_points_draws_points_in_their_units():
    model = fitted()
    assert model.step == 3 and model.shape == (2,) and model.scaling.num_levels is None
    samples = ss.sample_many(KEY, model, 4, sampler=ss.Heun(num_steps=3))
    assert samples.shape == (4, 2) and samples.dtype == np.float32


def test_images_are_scaled_and_come_back_as_levels():
    images = np.random.default_rng(0).integers(0, 256, (32, 4, 4, 1)).astype(np.uint8)
    network = ss.mlp(shape=(4, 4, 1), hidden_sizes=(8,), embedding_dim=4)
    model = fitted(network, images)
    assert model.scaling.num_levels == 256
    assert construct("model", ScoreNetwork, model.config["model"], shape=(4, 4, 1))
    assert model.parameterization.sigma_data == pytest.approx(images.std() / 127.5, rel=0.02)
    samples = ss.sample_many(KEY, model, 3, sampler=ss.Heun(num_steps=2))
    assert samples.shape == (3, 4, 4, 1) and samples.dtype == np.uint8


def test_training_with_labels_changes_their_embedding(of_classes):
    assert of_classes.condition == ClassLabel(num_classes=3)
    before = of_classes.network.init(KEY)
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), before, of_classes.params)
    assert max(jax.tree.leaves(moved)) > 0.0


def test_a_condition_may_be_any_arrays():
    form = {"a": jax.ShapeDtypeStruct((3,), jnp.float32), "b": jax.ShapeDtypeStruct((), jnp.int32)}

    def apply(params, x, t, *, condition, present=None, key=None, train=False):
        return params["w"] * x * condition["a"][:, :2] + condition["b"][:, None]

    network = ScoreNetwork(
        init=lambda key: {"w": jnp.ones(2)}, apply=apply, condition=Arrays(like=form)
    )
    condition = {"a": np.ones((64, 3), np.float32), "b": np.arange(64)}
    model = fitted(network, condition=condition)
    given = {"a": np.ones((5, 3), np.float32), "b": np.arange(5)}
    options = {"sampler": ss.Heun(num_steps=2)}
    each = ss.sample_many(KEY, model, 5, condition=given, **options)
    one = ss.sample_many(
        KEY, model, 5, condition={"a": np.ones(3, np.float32), "b": np.int32(4)}, **options
    )
    np.testing.assert_allclose(each[4], one[4], rtol=1e-5)
    assert not np.allclose(each[0], one[0])
    with pytest.raises(ValueError, match=r"^this model is conditioned on the arrays \{.*give the"):
        ss.sample_many(KEY, model, 5)


def test_a_data_source_has_a_held_out_loss(capsys):
    source = DataSource.from_examples(X.astype(np.float32), num_levels=None)
    seen = []
    hook = Hook(every=1, run=lambda state, step: seen.append(step))
    fitted(data=source, hooks=[hook])
    assert seen == [1, 2, 3] and capsys.readouterr() == ("", "")


def test_progress_is_shown_unless_it_is_not_wanted(capsys):
    fitted(progress=True)
    out, err = capsys.readouterr()
    assert "3/3 steps" in out + err


def test_ctrl_c_returns_the_model_so_far():
    def interrupt(state, step):
        if step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    model = fitted(num_steps=50, hooks=[Hook(every=1, run=interrupt)])
    assert 2 <= model.step <= 3 and signal.getsignal(signal.SIGINT) is before


def test_training_may_start_from_given_parameters():
    first = fitted()
    again = fitted(params=first.params, num_steps=1, optimizer=adam(lr=1e-12))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-9), again.params, first.params
    )


def pair(output):
    return (lambda key: {"w": jnp.ones(2)}, lambda params, x, t, **options: output(params["w"] * x))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"data": np.arange(8).reshape(4, 2)}, "data must be floating-point .* got int64"),
        ({"data": np.full((4, 2), np.nan)}, "NaN"),
        ({"network": pair(lambda x: x[:, :1])}, r"must keep the shape .* \(1, 2\) is \(1, 1\)$"),
        ({"condition": np.arange(64) % 3}, "condition is for a network that takes one"),
        ({"network": small(num_classes=3)}, "conditioned on a class label.* no labels"),
        (
            {"network": small(num_classes=3), "condition": np.arange(64)},
            "from 0 to 2, the train data are from 0 to 63$",
        ),
        ({"network": small(num_classes=3), "condition": np.arange(9) % 3}, "a row for each of 64"),
        (
            {"network": small(num_classes=3), "condition": np.ones(64)},
            r"takes class labels .* the train data are float64\[64\]",
        ),
        ({"num_steps": 0}, "^num_steps=0 must be at least 1$"),
        ({"batch_size": 3}, "batch_size=3 must be .*to be split evenly over 8 devices"),
        ({"batch_size": 0}, "^batch_size=0 must be at least 1$"),
        ({"ema_decay": 1.0}, "^ema_decay=1.0 must be at least 0 and less than 1$"),
        ({"data": DataSource(train=X, test=X, num_levels=None), "condition": np.arange(64)},
         "condition is for data as an array|condition is for a network"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit_are_an_error_of_one_line(options, line):
    with pytest.raises(ValueError, match=line) as error:
        fitted(**options)
    assert "\n" not in str(error.value)


def test_a_saved_model_loads_draws_the_same_and_is_taken_by_the_commands(
    of_classes, tmp_path, capsys
):
    folder = tmp_path / "model"
    of_classes.save(folder)
    again = ss.load(folder)
    assert again.step == 3 and again.condition == of_classes.condition
    assert again.config == of_classes.config
    options = {"sampler": ss.Heun(num_steps=3)}
    wanted = ss.sample_many(KEY, of_classes, 4, **options)
    np.testing.assert_array_equal(ss.sample_many(KEY, again, 4, **options), wanted)
    few = ("--config.sampling.num_steps=5", "--num_samples=4", "--batch=4", "--classes=2,0")
    tiny.run("sample", f"--workdir={folder}", f"--output={tmp_path / 'out'}", *few)
    with np.load(tmp_path / "out" / "samples.npz") as file:
        assert file["classes"].tolist() == [2, 0, 2, 0] and file["samples"].shape == (4, 2)
    with pytest.raises(FileExistsError):
        of_classes.save(folder)
    assert main(["likelihood", f"--workdir={folder}"]) != 0
    line = capsys.readouterr().err.strip()
    assert "\n" not in line and "in memory" in line
    tiny.run("export", f"--workdir={folder}", f"--output={tmp_path / 'copy'}")
    assert ss.load(tmp_path / "copy").config == of_classes.config


def test_a_model_of_a_network_of_the_users_own_has_no_config(tmp_path):
    model = fitted(pair(lambda x: x))
    assert model.config is None
    with pytest.raises(ValueError, match=r"^this needs a model with a config[^\n]*$"):
        model.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()
