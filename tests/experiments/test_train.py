"""Training in a folder by the library: what ``score-sde train`` does, and no less."""

import json

import jax
import numpy as np
import pytest
import tiny
from ml_collections import ConfigDict
from PIL import Image

import score_sde as ss
from score_sde.experiments.train import prepared, train
from score_sde.runtime.lock import held
from score_sde.training import Checkpoints, Hook, MetricWriter
from score_sde.training.checkpoints.manifest import CheckpointError
from score_sde.training.speed import Speed

RUNS = {"toy": (tiny.TOY, tiny.toy_run), "digits": (tiny.DIGITS, tiny.digits_run)}


def experiment_of(text, **training):
    config = tiny.config_of(text)
    config.training.update(ConfigDict(training))
    with tiny.quick_compilation():
        return ss.build(config)


def train_toy(folder, hooks=(), *, by=ss.train, overwrite=False, **training):
    experiment = experiment_of(tiny.TOY, **training)
    with tiny.quick_compilation():
        return by(experiment, folder, hooks, overwrite=overwrite)


def last_state(folder, like):
    """What the last checkpoint holds."""
    with Checkpoints(folder / "checkpoints") as checkpoints:
        return checkpoints.restore(like)


def assert_identical(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def losses(folder):
    """The metrics but the speed, line by line."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in line.items() if name not in Speed.METRICS} for line in lines
    ]


def contents(folder):
    """Names of files and folders, and the bytes of those that no clock and no host is in."""
    return {
        path.relative_to(folder).as_posix(): path.suffix == ".png" and path.read_bytes()
        for path in [*folder.iterdir(), *folder.glob("checkpoints/*"), *folder.glob("samples/*")]
    }


@pytest.fixture(scope="module", params=["toy", pytest.param("digits", marks=pytest.mark.slow)])
def both(request, tmp_path_factory):
    """The folders of a run by the library and by the command, and what the first returned."""
    text, by_command = RUNS[request.param]
    folder = tmp_path_factory.mktemp("by_library") / "run"
    experiment = experiment_of(text)
    with tiny.quick_compilation():
        result = ss.train(experiment, folder)
    return folder, by_command(), result


def test_the_state_and_the_losses_are_those_of_the_command(both):
    ours, theirs, result = both
    assert result.signum is None
    assert_identical(jax.device_get(result.state), last_state(ours, result.state))
    assert_identical(jax.device_get(result.state), last_state(theirs, result.state))
    assert losses(ours) == losses(theirs)


def test_the_files_are_those_of_the_command(both):
    ours, theirs, _ = both
    assert (ours / "config.json").read_bytes() == (theirs / "config.json").read_bytes()
    made = contents(theirs)
    del made["report.json"]  # what the command says of its run
    assert contents(ours) == made
    assert ("samples/step_0000004.png" in made) == (len(ss.load(ours).shape) == 3)


def test_it_resumes_bit_for_bit(tmp_path):
    seen = []
    hook = Hook(every=10, run=lambda state, step: seen.append(step))
    first = train_toy(tmp_path, [hook], num_steps=10)
    assert int(first.state.step) == 10 and seen == [10]
    last = train_toy(tmp_path, [hook])
    assert int(last.state.step) == 30 and seen == [10, 20, 30]
    assert_identical(jax.device_get(last.state), last_state(tiny.toy_run(), last.state))
    assert losses(tmp_path) == losses(tiny.toy_run())


def test_files_of_other_programs_are_an_error_and_stay(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 0.1}\n')
    with pytest.raises(FileExistsError, match=r"metrics\.jsonl is there, and .* is not the folder"):
        train_toy(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
    with prepared(experiment_of(tiny.TOY), tmp_path, overwrite=True) as run:
        assert run.num_steps == 30 and (tmp_path / "config.json").exists()


def test_the_run_of_another_model_is_an_error(tmp_path):
    workdir = tiny.copy_of(tiny.toy_run(), tmp_path)
    config = tiny.config_of(tiny.TOY)
    config.seed = 1
    with pytest.raises(ValueError, match="holds a run with seed=0 where this config has 1"):
        ss.train(ss.build(config), workdir)


def test_a_folder_is_written_by_one_at_a_time(tmp_path):
    experiment = experiment_of(tiny.TOY)
    with held(tmp_path), pytest.raises(OSError, match="is being written by process"):
        train(experiment, tmp_path)
    for _ in range(2):  # which is let go after a run
        with prepared(experiment, tmp_path), pytest.raises(OSError, match="is being written by"):
            train(experiment, tmp_path)


def test_no_sound_checkpoint_is_an_error(tmp_path):
    workdir = tiny.copy_of(tiny.toy_run(), tmp_path)
    for path in workdir.glob("checkpoints/*/**/*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(CheckpointError):
        train_toy(workdir)


def test_devices_that_do_not_suit_are_an_error_before_anything_is_written(tmp_path):
    with pytest.raises(
        ValueError, match=r"^training(: |\.)fsdp=.* must divide the number of devices"
    ):
        train_toy(tmp_path / "run", fsdp=7)
    with pytest.raises(ValueError, match=r"^training(: |\.)batch_size=17 must be a positive"):
        train_toy(tmp_path / "run", batch_size=17)
    assert not (tmp_path / "run").exists()


def test_data_of_another_scale_are_warned_of(tmp_path):
    np.save(tmp_path / "table.npy", np.random.default_rng(0).normal(5e4, 1.0, (100, 2)))
    text = tiny.TOY.replace('"mixture", "num_examples": 120, "seed": 1', '"npy:TABLE"')
    experiment = experiment_of(text.replace("TABLE", str(tmp_path / "table.npy")))
    with (
        pytest.warns(UserWarning, match="^the data do not suit the SDE: column [01] has mean"),
        prepared(experiment, tmp_path / "run"),
    ):
        pass


class Recorder(MetricWriter):
    """A tracker that keeps the images."""

    images: dict[int, np.ndarray]

    def rewind(self, step):
        type(self).images = {}

    def write_scalars(self, step, scalars):
        pass

    def write_images(self, step, images):
        self.images[step] = np.asarray(images["samples"])


def recorder(workdir, config):
    return Recorder()


def test_hooks_of_the_caller_run_and_grids_of_samples_go_to_the_trackers(tmp_path):
    seen = []
    changes = {"num_steps": 2, "sample_every": 1, "eval_every": 0}
    experiment = experiment_of(tiny.DIGITS, trackers=(f"{__name__}:recorder",), **changes)
    with tiny.quick_compilation():
        ss.train(experiment, tmp_path, [Hook(every=1, run=lambda state, step: seen.append(step))])
    assert seen == [1, 2] and Recorder.images.keys() == {1, 2}
    for step, image in Recorder.images.items():
        with Image.open(tmp_path / "samples" / f"step_{step:07d}.png") as picture:
            np.testing.assert_array_equal(image[..., 0], np.asarray(picture))


def test_without_a_hook_nothing_is_drawn(tmp_path):
    options = {"num_steps": 10, "sample_every": 10}
    train_toy(tmp_path / "ours", by=train, **options)
    assert not (tmp_path / "ours" / "samples").exists()
    train_toy(tmp_path / "theirs", **options)
    assert (tmp_path / "theirs" / "samples" / "step_0000010.png").exists()
