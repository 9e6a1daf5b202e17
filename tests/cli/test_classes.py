"""Class-conditional models on the command line: the class of each sample, and usage
errors.
"""

import dataclasses
import functools
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny

import score_sde as ss
from score_sde.cli import main
from score_sde.evaluation import samples as runner
from score_sde.evaluation.likelihoods import evaluate_range, make_evaluate, shards_of
from score_sde.experiments.builders import load_data
from score_sde.models import ClassLabel

CLASSES = tiny.DIGITS.replace(
    "    config.eval.batch_size", "    config.model.num_classes = 10\n    config.eval.batch_size"
)
"""The tiny digits, conditioned on their labels."""


@functools.cache
def run_of_classes() -> Path:
    """The workdir of a trained U-Net; to be read only."""
    return tiny.trained("classes", CLASSES)


@functools.cache
def model() -> ss.Model:
    return ss.load(run_of_classes())


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Pictures and distances take longer than these samples."""
    monkeypatch.setattr(runner, "figure_of_samples", lambda *args, **kwargs: None)
    monkeypatch.setattr(runner, "figures_of_denoising", lambda *args: {})
    monkeypatch.setattr(runner, "distances", lambda *args: {})


def sampled(folder, *flags, workdir=None):
    tiny.run("sample", f"--workdir={workdir or run_of_classes()}", f"--output={folder}", *flags)
    with np.load(folder / "samples.npz", allow_pickle=False) as file:
        return dict(file)


def usage_error(capsys, *argv):
    assert main(argv) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "Traceback" not in line
    return line


@pytest.mark.slow
def test_training_remembers_that_the_model_is_conditioned():
    assert model().condition == ClassLabel(num_classes=10)
    assert model().config["example"]["conditional"] is True
    grids = [path.name for path in (run_of_classes() / "samples").glob("step_*")]
    assert grids == ["step_0000004.png"]


def test_the_class_of_a_sample_depends_on_its_index_alone(tmp_path):
    many = sampled(tmp_path / "a", "--num_samples=12", "--batch=8", "--classes=3,1,4")
    few = sampled(tmp_path / "b", "--num_samples=5", "--batch=8", "--classes=3,1,4")
    assert many["classes"].tolist() == [3, 1, 4] * 4 and few["classes"].tolist() == [3, 1, 4, 3, 1]
    np.testing.assert_array_equal(few["samples"], many["samples"][:5])
    others = sampled(tmp_path / "c", "--num_samples=12", "--batch=8")
    assert others["classes"].tolist() == [*range(10), 0, 1]
    # Sample 1 is of class 1 in both, with the same noise.
    np.testing.assert_array_equal(others["samples"][1], many["samples"][1])


def test_sample_many_draws_what_the_command_draws(tmp_path):
    wanted = sampled(tmp_path / "a", "--num_samples=9", "--batch=8", "--seed=5", "--classes=7")
    with tiny.quick_compilation():
        found = ss.sample_many(jax.random.key(5), model(), 9, condition=7, batch=8)
    assert wanted["classes"].tolist() == [7] * 9
    np.testing.assert_array_equal(found, wanted["samples"])


@pytest.mark.slow
def test_an_interrupted_run_resumes_only_for_the_same_classes(tmp_path, monkeypatch):
    real, drawn, stop_after = runner.draw_range, [], [1]

    def draw_range(draw, params, key, indices, *rest):
        if len(drawn) == stop_after[0]:
            raise KeyboardInterrupt
        drawn.append((indices.start, indices.stop))
        return real(draw, params, key, indices, *rest)

    monkeypatch.setattr(runner, "draw_range", draw_range)
    flags = ["--num_samples=16", "--batch=8"]
    command = ["sample", f"--workdir={run_of_classes()}", f"--output={tmp_path / 'a'}", *flags]
    with tiny.quick_compilation():
        assert main([*command, "--classes=1,2"]) == 130
    stop_after[0] = None
    for classes, wanted in (("2,1", [(0, 8), (8, 16)]), ("1,2", [(8, 16)])):
        drawn.clear()
        sampled(tmp_path / "a", *flags, f"--classes={classes}")
        assert drawn == wanted


@pytest.mark.parametrize(
    ("flag", "line"),
    [
        ("--classes=0,10", "from 0 to 9, sampling.classes are from 0 to 10"),
        ("--classes=-1", "sampling.classes"),
        ("--classes=1.5", "classes"),
        ("--classes=cat", "classes"),
        ("--classes=", "classes"),
        ("--config.sampling.classes=()", "sampling.classes=() must be at least one class"),
    ],
)
def test_wrong_classes_are_usage_errors(flag, line, capsys, tmp_path):
    output = f"--output={tmp_path / 'out'}"
    assert line in usage_error(capsys, "sample", f"--workdir={run_of_classes()}", flag, output)
    assert not (tmp_path / "out").exists()


def test_an_unconditional_model_has_no_classes(capsys):
    line = usage_error(capsys, "sample", f"--workdir={tiny.toy_run()}", "--classes=0")
    assert "sampling.classes=0 needs a class-conditional model: this one was trained" in line


def test_classes_need_data_with_labels(capsys, tmp_path):
    text = tiny.TOY.replace("embedding_dim=4)", "embedding_dim=4, num_classes=3)")
    text = text.replace('"mixture"', '"swiss_roll"')
    config = tiny.config_file(text, tmp_path)
    workdir = tmp_path / "run"
    line = usage_error(capsys, "train", f"--config={config}", f"--workdir={workdir}")
    assert "the data have no labels: remove model.num_classes" in line
    assert not workdir.exists()


def test_labels_must_be_among_the_classes(capsys, tmp_path):
    config = tiny.config_file(CLASSES.replace("num_classes = 10", "num_classes = 4"), tmp_path)
    line = usage_error(capsys, "train", f"--config={config}", f"--workdir={tmp_path / 'run'}")
    assert "model.num_classes=4 takes class labels from 0 to 3, the train data are from 0 to 9" in (
        line
    )


def of_many(count, **drawing):
    """What a picture shows of ``count`` samples: their classes, row by row."""
    chosen = dataclasses.replace(model(), drawing=dataclasses.replace(model().drawing, **drawing))
    indices, columns = runner.shown_indices(chosen, count)
    classes = chosen.conditions_of_samples(indices)
    return indices, classes.reshape(-1, columns or len(indices))


@pytest.mark.parametrize(
    ("count", "classes", "rows"),
    [
        (64, None, [[i] * 6 for i in range(10)]),
        (12, (4, 2), [[4] * 6, [2] * 6]),
        (12, (4, 2, 4), [[4] * 4, [2] * 4]),
        (500, (1, 0), [[1] * 10, [0] * 10]),
    ],
)
def test_each_row_of_a_picture_is_one_class(count, classes, rows):
    indices, found = of_many(count, classes=classes)
    assert found.tolist() == rows
    assert len(set(indices)) == len(indices) and max(indices) < count


@pytest.mark.parametrize(("count", "classes"), [(1, None), (300, (3,)), (40, (3, 3))])
def test_of_one_class_or_too_few_samples_a_picture_is_a_square(count, classes):
    indices, found = of_many(count, classes=classes)
    assert indices.tolist() == list(range(min(count, 100))) and len(found) == 1


@pytest.mark.slow
def test_likelihoods_are_those_under_the_labels(tmp_path):
    trained = randomised(model())
    source = load_data(trained.config)
    examples, labels = source.test[:8], source.test_labels[:8]
    evaluate, key = make_evaluate(trained), jax.random.key(0)

    def under(conditions):
        rest = (trained.scaling, range(8), 8, conditions)
        with tiny.quick_compilation():
            return evaluate_range(evaluate, trained.params, key, examples, *rest).log_prob

    assert (under(labels) != under((labels + 1) % 10)).all()
    right, wrong = (
        shards_of(trained, key, tmp_path, "test", examples, conditions).folder
        for conditions in (labels, (labels + 1) % 10)
    )
    assert right != wrong


def randomised(found):
    """The model with other parameters: those of few steps hardly depend on the class."""
    leaves, structure = jax.tree.flatten(found.params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [
        leaf + 0.1 * jax.random.normal(key, leaf.shape)
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    return dataclasses.replace(found, params=jax.tree.unflatten(structure, moved))


@pytest.mark.slow
def test_the_other_commands_take_a_model_of_classes(tmp_path):
    workdir = tiny.copy_of(run_of_classes(), tmp_path)
    for command in ("likelihood", "encode"):
        tiny.run(command, f"--workdir={workdir}", "--num_examples=4", "--batch=4")
    tiny.run("interpolate", f"--workdir={workdir}", "--num_pairs=1", "--num_steps=3")
    assert (workdir / "likelihood_test.npz").exists()


def test_one_sample_is_that_of_the_conditional_score():
    found, key = randomised(model()), jax.random.key(3)
    with tiny.quick_compilation():
        drawn = jax.jit(lambda c: found.draw(found.params, key, c).x)(np.int32(4))
        wanted = jax.jit(
            lambda c: (
                ss.sample(
                    key,
                    found.sde,
                    found.score_fn_of(found.params, c),
                    found.sampler,
                    found.shape,
                    **found.drawing.options,
                ).x
            )
        )(np.int32(4))
    np.testing.assert_array_equal(drawn, wanted)
