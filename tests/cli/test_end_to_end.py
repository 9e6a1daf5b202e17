"""From a config file to pictures: train, sample, likelihood, plot, on points and on images."""

import json

import numpy as np
import pytest
import tiny
from PIL import Image

from score_sde.experiments.builders import load_data
from score_sde.experiments.loading import load

RUNS = {"toy": tiny.toy_run, "digits": tiny.digits_run}


@pytest.fixture(scope="module", params=RUNS)
def workdir(request, tmp_path_factory):
    return tiny.copy_of(RUNS[request.param](), tmp_path_factory.mktemp("run"))


def report(workdir):
    return json.loads((workdir / "report.json").read_text(encoding="utf-8"))


def is_picture(path):
    with Image.open(path) as image:
        image.load()
        return min(image.size) >= 8


def test_training_leaves_checkpoints_metrics_and_the_config(workdir):
    steps = load(workdir).step
    assert sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())[-1] == steps
    assert json.loads((workdir / "config.json").read_text()) == load(workdir).config
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == steps and {"loss", "grad_norm", "eval_loss"} <= {
        key for line in lines for key in line
    }
    assert list((workdir / "tensorboard").iterdir())
    assert report(workdir)["trained"] == f"{steps} steps, {tiny_path(workdir)}"


def tiny_path(workdir):
    return RUNS[workdir.name]() / "checkpoints"


def test_sample_grids_are_drawn_during_training():
    assert is_picture(tiny.digits_run() / "samples" / "step_0000004.png")


def samples(workdir, *flags):
    text = tiny.run("sample", f"--workdir={workdir}", *flags)
    assert f"samples of {workdir}, step " in text
    with np.load(workdir / "samples" / "samples.npz", allow_pickle=False) as file:
        assert file.files == ["samples"]
        return file["samples"]


@pytest.fixture(scope="module")
def twelve(workdir):
    """The samples that the config asks for, two batches of them; their pictures lie in
    the workdir.
    """
    return samples(workdir)


def test_samples_are_levels_or_points(workdir, twelve):
    model = load(workdir)
    assert twelve.shape == (12, *model.shape)
    assert len(np.unique(twelve.reshape(12, -1), axis=0)) == 12
    if model.scaling.num_levels is None:
        assert twelve.dtype == np.float32 and np.isfinite(twelve).all()
    else:
        assert twelve.dtype == np.uint8 and twelve.max() < model.scaling.num_levels


@pytest.mark.slow
@pytest.mark.parametrize("name", ["toy", pytest.param("digits", marks=pytest.mark.slow)])
def test_samples_depend_on_their_index_and_the_seed_alone(name, tmp_path):
    workdir = tiny.copy_of(RUNS[name](), tmp_path)
    twelve = samples(workdir)
    five = samples(workdir, "--num_samples=5", "--config.sampling.batch_size=3").astype(float)
    assert len(twelve) == 12 and len(five) == 5
    # Nearly: a batch of another size is compiled to another program.
    np.testing.assert_allclose(five, twelve[:5], rtol=1e-4, atol=1e-5 if name == "toy" else 1)
    if name == "digits":
        assert (five == twelve[:5]).mean() > 0.99
    assert not np.isclose(samples(workdir, "--num_samples=2", "--seed=1"), twelve[:2]).all()


def test_sampling_leaves_pictures_and_rows(workdir, twelve):
    rows = report(workdir)
    images = {"denoising", "animation"} if workdir.name == "digits" else set()
    assert {"samples", "figure", *images} <= rows.keys()
    assert all(is_picture(rows[name]) for name in {"figure", *images})
    assert rows["samples"].startswith("12 of ") and rows["samples"].endswith(
        f"{workdir}/samples/samples.npz"
    )
    assert {name for name in rows if name.startswith("distance: ")}


def test_another_sampler_and_an_earlier_checkpoint_may_be_chosen(tmp_path):
    workdir = tiny.copy_of(tiny.toy_run(), tmp_path)
    flags = ("--checkpoint=20", "--num_samples=2", "--config.sampling.name=probability_flow")
    text = tiny.run("sample", f"--workdir={workdir}", *flags)
    assert f"samples of {workdir}, step 20" in text and "2 of ProbabilityFlow, " in text


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("toy", "test"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("toy", "train"), ("digits", "test"))
        ),
    ],
)
def test_the_likelihood_of_every_example_is_computed_once(name, split, tmp_path):
    workdir = tiny.copy_of(RUNS[name](), tmp_path)
    text = tiny.run("likelihood", f"--workdir={workdir}", f"--split={split}")
    model = load(workdir)
    examples = getattr(load_data(model.config), split)[: model.evaluating.max_examples]
    with np.load(workdir / f"likelihood_{split}.npz", allow_pickle=False) as file:
        found = dict(file)
    assert found.keys() == {"log_prob", "bits_per_dim", "std_error", "solver_error", "nfe"}
    assert all(len(values) == len(examples) for values in found.values())
    assert np.isfinite(found["log_prob"]).all() and (found["nfe"] > 0).all()
    discrete = model.scaling.num_levels is not None
    assert np.isfinite(found["bits_per_dim"]).all() == discrete
    unit, values = ("bits/dim", found["bits_per_dim"]) if discrete else ("nats", found["log_prob"])
    row = report(workdir)[f"likelihood, {split}"]
    assert (
        row.startswith(f"{values.mean():.4f} ± ") and f"{unit} over {len(examples)} examples" in row
    )
    assert row in text


def test_hutchinson_is_chosen_by_its_name(tmp_path):
    workdir = tiny.copy_of(tiny.toy_run(), tmp_path)
    flags = ("--config.eval.divergence.name=hutchinson", "--config.eval.max_examples=3")
    assert "nats over 3 examples" in tiny.run("likelihood", f"--workdir={workdir}", *flags)


def test_plots_of_a_workdir(tmp_path):
    workdir = tiny.copy_of(tiny.toy_run(), tmp_path)
    text = tiny.run("plot", f"--workdir={workdir}")
    rows = report(workdir)
    assert is_picture(rows["loss"]) and is_picture(rows["trajectories"])
    assert {"trained", "loss", "trajectories"} <= rows.keys()
    assert all(f"{name} " in text for name in rows)


@pytest.mark.slow
def test_plots_without_a_workdir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "figures/sde.png" in tiny.run("plot", "--config=digits/ve")
    assert is_picture(tmp_path / "figures" / "sde.png")
    tiny.run("plot", "--output=others")
    assert is_picture(tmp_path / "others" / "sdes.png")
    assert is_picture(tmp_path / "others" / "more_sdes.png")


def test_a_loss_that_is_not_finite_ends_the_run_with_one_line(tmp_path, capsys):
    from score_sde.cli import main

    file = tiny.config_file(tiny.TOY, tmp_path)
    overrides = ("--config.optim.lr=1e30", "--config.optim.warmup=0")
    with tiny.quick_compilation():
        assert main(["train", f"--config={file}", f"--workdir={tmp_path / 'run'}", *overrides]) == 1
    errors = capsys.readouterr().err.splitlines()
    start = (
        "score-sde train: 10 updates in a row, to step 11, were skipped: in the last, the loss is "
    )
    assert errors[-1].startswith(start) and "lower learning rate" in errors[-1]
