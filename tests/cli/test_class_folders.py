"""A folder of splits and classes, from training to samples and likelihoods, in any folder."""

import json

import numpy as np
import pytest
import tiny
from data_sets import pixels, write_image

import score_sde as ss
from score_sde.data.source import DataSource
from score_sde.experiments.builders import load_data
from score_sde.experiments.resume import check_resumes
from score_sde.training import newest_config

CONFIG = tiny.DIGITS.replace(
    "    config.eval.batch_size",
    '    config.data.source = "folder:photos"\n'
    "    config.model.num_classes = 2\n    config.training.sample_every = 0\n"
    "    config.eval.batch_size",
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, with a folder of images, 10 for training and 3 held out."""
    monkeypatch.chdir(tmp_path)
    for number in range(10):
        image = pixels(8, 8, seed=number)
        write_image(tmp_path / "photos" / "Train" / "dc"[number % 2] / f"{number}.png", image)
    for number in range(3):
        image = pixels(8, 8, seed=100 + number)
        write_image(tmp_path / "photos" / "test" / "d" / f"{number}.png", image)
    (tmp_path / "other").mkdir()
    return tmp_path


def test_a_saved_config_names_the_same_data_in_any_folder(here, monkeypatch):
    config = ss.build(tiny.config_of(CONFIG)).model.saved_config
    assert config["data"]["source"] == f"folder:{here}/photos"
    assert config["example"]["classes"] == ["c", "d"]
    monkeypatch.chdir(here / "other")
    source = load_data(config)
    assert isinstance(source, DataSource) and len(source.test) == 3
    np.testing.assert_array_equal(source.test_labels, [1, 1, 1])


def test_a_run_of_an_earlier_version_resumes_though_its_config_has_a_relative_path(
    here, monkeypatch
):
    now = ss.build(tiny.config_of(CONFIG)).model.saved_config
    then = json.loads(json.dumps(now))
    then["data"]["source"] = "folder:photos"
    del then["example"]["classes"]
    monkeypatch.setattr("score_sde.experiments.resume.newest_config", lambda path: then)
    check_resumes(here, now)
    monkeypatch.chdir(here / "other")
    with pytest.raises(ValueError, match=r"holds a run with data\.source="):
        check_resumes(here, now)


@pytest.mark.slow
def test_training_samples_and_likelihoods_of_class_folders(here, monkeypatch, usage_error):
    tiny.config_file(CONFIG, here)
    shown = tiny.run("train", "--config=experiment.py", "--workdir=run")
    assert "images: 10 in Train/ to train on, 3 held out in test/" in shown
    assert "2 classes by folder: 0 c, 1 d" in shown
    assert newest_config(here / "run" / "checkpoints")["example"]["classes"] == ["c", "d"]
    monkeypatch.chdir(here / "other")
    workdir = f"--workdir={here}/run"
    tiny.run("sample", workdir, "--output=s", "--num_samples=3", "--classes=d,c")
    with np.load(here / "other" / "s" / "samples.npz") as file:
        assert file["classes"].tolist() == [1, 0, 1]
    line = usage_error("sample", workdir, "--output=s", "--classes=e")
    assert "sampling.classes names 'e'" in line and "classes of the training data: c, d" in line
    tiny.run("likelihood", workdir, "--split=test")
    with np.load(here / "run" / "likelihood_test.npz") as file:
        assert any(len(file[name]) == 3 for name in file.files if file[name].ndim)
