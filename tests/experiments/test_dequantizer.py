"""Learned dequantizers: they close the gap of a known density, and the command line
trains and takes them.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
from oracles import keys
from scipy import stats
from usage_errors import check_usage_error

from score_sde import (
    VPSDE,
    AnyExperiment,
    ClassifierExperiment,
    DequantizerExperiment,
    Experiment,
    build,
    load,
)
from score_sde.cli import main
from score_sde.cli.config_file import read_config
from score_sde.data import Scaling
from score_sde.experiments.dequantizer import LearnedDequantizer, VariationalDequantization
from score_sde.likelihood.dequantization import UniformDequantizer
from score_sde.models import coupling_flow
from score_sde.sdes.mixture import Mixture

DATA = Mixture(means=((0.1,) * 4,), std=0.2)
"""Steep within a bin: an eighth of its numbers lies in each of 8 levels of [-1, 1]."""

LEVELS = jnp.array([[[2], [3]], [[4], [5]]], jnp.uint8)


def exact():
    """Bits per dimension of the levels."""
    borders = (-1.0 + 0.25 * (np.asarray(LEVELS, np.float64)[..., None] + np.arange(2)) - 0.1) / 0.2
    return -np.mean(np.log2(np.diff(stats.norm.cdf(borders), axis=-1)))


@pytest.mark.slow
def test_training_closes_the_gap_to_the_probability_of_the_levels():
    """Of 0.2 bits per dimension by uniform points, at most a fifth is left after 150 steps.

    4,000 bounds each, of which the standard error of the mean is below 0.01.
    """
    network = coupling_flow((2, 2, 1), channels=8, num_couplings=4, num_blocks=1)
    parts = {
        "sde": VPSDE(),
        "network": network,
        "params": network.init(jax.random.key(0)),
        "shape": (2, 2, 1),
    }
    scaling = Scaling(num_levels=8)
    model = LearnedDequantizer(**parts, scaling=scaling, seed=0, step=0, config={})
    objective, flat = VariationalDequantization(num_times=16), DATA.score_fn(VPSDE())
    score_fn = lambda x, t: flat(x.ravel(), t).reshape(x.shape)  # noqa: E731

    def loss(dequantizer, key):
        return objective(key, VPSDE(), score_fn, dequantizer, LEVELS, scaling.bins)

    @jax.jit
    def trained(params):
        optimizer = optax.adam(1e-2)

        def update(carry, key):
            params, state = carry
            batch = lambda params: jax.vmap(lambda key: loss(model.dequantizer_of(params), key))(  # noqa: E731
                jax.random.split(key, 32)
            ).mean()
            updates, state = optimizer.update(jax.grad(batch)(params), state)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(update, (params, optimizer.init(params)), keys(1, 150))[0][0]

    mean = jax.jit(
        lambda dequantizer: jax.vmap(lambda key: loss(dequantizer, key))(keys(2, 4000)).mean()
    )
    uniform, start = mean(UniformDequantizer()) - exact(), mean(model.dequantizer) - exact()
    gap = mean(model.dequantizer_of(trained(model.params))) - exact()
    assert 0.15 < uniform < 0.25 and abs(start - uniform) < 0.04
    assert -0.03 < gap < 0.2 * uniform


SMALLER = [
    "--config.training.num_steps=4", "--config.training.batch_size="
"8", "--config.training.log_every=1",
    "--config.training.eval_every=2", "--config.training.checkpoint_every="
"2", "--config.model.channels=4",
    "--config.model.num_couplings=2", "--config.objective.num_times=2",
]  # fmt: skip
TRAIN = ("train-dequantizer", "--config=dequantizer/digits")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workdir of digits, with a dequantizer in it; to be read only."""
    workdir = tiny.copy_of(tiny.digits_run(), tmp_path_factory.mktemp("dequantizer"))
    text = tiny.run(*TRAIN, f"--workdir={workdir}", *SMALLER)
    assert f"training in {workdir / 'dequantizer'}" in text and "trained  4 steps" in text
    return workdir


@pytest.mark.slow
def test_a_dequantizer_is_trained_loaded_and_taken(trained, tmp_path):
    workdir = tiny.copy_of(trained, tmp_path)
    found, score_model = load(workdir / "dequantizer", LearnedDequantizer), load(workdir)
    assert (found.step, found.sde, found.scaling) == (4, score_model.sde, score_model.scaling)
    assert found.config["data"] == score_model.config["data"]
    offset, log_prob = found.dequantizer.sample(jax.random.key(0), jnp.zeros((8, 8, 1), jnp.uint8))
    assert (
        offset.shape == (8, 8, 1)
        and offset.min() >= 0.0
        and offset.max() <= 1.0
        and log_prob.shape == ()
    )
    assert "eval_loss" in (workdir / "dequantizer" / "metrics.jsonl").read_text()
    tiny.run("likelihood", f"--workdir={workdir}")
    uniform = bits(workdir)
    text = tiny.run(
        "likelihood", f"--workdir={workdir}", f"--dequantizer={workdir / 'dequantizer'}"
    )
    assert " bits/dim over 10 examples" in text and len(bits(workdir)) == 10
    assert (bits(workdir) != uniform).all()


def bits(workdir):
    with np.load(workdir / "likelihood_test.npz", allow_pickle=False) as file:
        return file["bits_per_dim"]


@pytest.mark.slow
def test_its_training_goes_on_where_it_was(trained, tmp_path):
    """And ends with the same bits as one that was never interrupted."""
    workdir = tiny.copy_of(tiny.digits_run(), tmp_path)
    tiny.run(*TRAIN, f"--workdir={workdir}", *SMALLER, "--config.training.num_steps=2")
    text = tiny.run(*TRAIN, f"--workdir={workdir}", *SMALLER)
    assert "found a checkpoint of step 2, resuming until step 4" in text
    ours, theirs = (
        load(folder / "dequantizer", LearnedDequantizer).params for folder in (workdir, trained)
    )
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert "loss" in tiny.run("plot", f"--workdir={workdir / 'dequantizer'}")


def usage_error(capsys, *argv):
    """The line of a command that must end with a usage error."""
    capsys.readouterr()
    with tiny.quick_compilation():
        assert main(argv) == 2
    text, errors = capsys.readouterr()
    check_usage_error(argv[0], text, errors)
    return errors


@pytest.mark.slow
def test_wrong_inputs_of_train_dequantizer_are_usage_errors(trained, tmp_path, capsys):
    toy, digits = f"--workdir={tiny.toy_run()}", f"--workdir={trained}"
    assert "the coupling flow takes images" in usage_error(capsys, *TRAIN, toy)
    assert "=configs/dequantizer/digits.py" in usage_error(capsys, "train-dequantizer", digits)
    assert "'unet' gives ScoreNetwork" in usage_error(
        capsys, *TRAIN, digits, "--config.model.name=unet"
    )
    assert "num_times=0 must be" in usage_error(
        capsys, *TRAIN, digits, "--config.objective.num_times=0"
    )
    assert "holds a run with model.channels=4" in usage_error(capsys, *TRAIN, digits)
    folder = f"--workdir={tmp_path / 'new'}"
    assert "needs a score model: score-sde train-dequantizer" in usage_error(
        capsys, "train", "--config=dequantizer/digits", folder
    )
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_another_model_is_no_dequantizer(trained, capsys):
    likelihood = ("likelihood", f"--workdir={trained}")
    assert "this is a score model, not a dequantizer" in usage_error(
        capsys, *likelihood, f"--dequantizer={trained}"
    )
    assert "no checkpoint in" in usage_error(capsys, *likelihood, "--dequantizer=nowhere")
    other = f"--dequantizer={trained / 'dequantizer'}"
    assert "is for (shape, levels, bins)" in usage_error(
        capsys, *likelihood, other, "--config.data.centered=false"
    )
    with pytest.raises(ValueError, match="this is a dequantizer, not a score model"):
        load(trained / "dequantizer")
    with tiny.abstract_init(), pytest.raises(ValueError, match="the coupling flow takes images"):
        build(
            read_config("dequantizer/digits"),
            DequantizerExperiment,
            score_model=load(tiny.toy_run()),
        )
    for kind in (Experiment, ClassifierExperiment, AnyExperiment):
        with pytest.raises(ValueError, match="dequantizer"):
            build(read_config("dequantizer/digits"), kind)
