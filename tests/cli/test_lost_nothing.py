"""A training that nobody can see, and one whose data are damaged, lose nothing."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny
from PIL import Image

from score_sde.cli import main
from score_sde.data import Loader, folder
from score_sde.data.examples import name_of
from score_sde.experiments.loading import load


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of images, of which one has lost its end: an example of the sixth batch."""
    place = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for row in range(120):
        pixels = rng.integers(256, size=(8, 8, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(place / f"{row:03}.png")
    train = folder(place, in_memory=False).train
    row = Loader(array=train, batch_size=16).rows(5)[0]
    path = Path(name_of(train, int(row)).partition(", ")[2])
    path.write_bytes(path.read_bytes()[:-60])
    return place, path.name


def training(photos, workdir, place, *more):
    data = f'ConfigDict({{"source": "folder:{photos}", "in_memory": False}})'
    text = tiny.TOY.replace(
        'ConfigDict({"source": "mixture", "num_examples": 120, "seed": 1})', data
    )
    text = text.replace('"eval_every": 10', '"eval_every": 0')
    config = tiny.config_file(text, place)
    return ["train", f"--config={config}", f"--workdir={workdir}", *more]


@pytest.mark.slow
def test_a_damaged_example_ends_a_run_that_is_saved_and_can_be_skipped(photos, tmp_path, capsys):
    """The run that stopped, and resumed with other examples, is the one that did not stop."""
    photos, damaged = photos
    skip = "--config.data.skip_damaged=True"
    with tiny.quick_compilation():
        words = training(photos, tmp_path / "run", tmp_path)
        assert main(words) == 1
        line = capsys.readouterr().err.splitlines()[-1]
        assert damaged in line and skip in line
        saved = load(tmp_path / "run").step
        assert saved == 5  # between two checkpoints
        assert main(words) == 1
        assert load(tmp_path / "run").step == saved
        assert main([*words, skip]) == 0
        whole = training(photos, tmp_path / "whole", tmp_path, skip)
        assert main(whole) == 0
    err = capsys.readouterr().err
    assert err.count("damaged example skipped (1 so far") == 2  # once a run
    ours, theirs = (load(tmp_path / name) for name in ("run", "whole"))
    for name in ("run", "whole"):
        (listed,) = (tmp_path / name / "damaged_examples.txt").read_text().splitlines()
        assert damaged in listed
    assert ours.step == theirs.step == 30
    jax.tree.map(np.testing.assert_array_equal, ours.params, theirs.params)


@pytest.mark.slow
@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", "2>&1 | head -1", ">/dev/full"])
def test_a_training_that_nobody_can_see(redirection, tmp_path):
    config = tiny.config_file(tiny.TOY, tmp_path)
    words = ["-m", "score_sde", "train", f"--config={config}", f"--workdir={tmp_path / 'run'}"]
    words += ["then", "sample", f"--workdir={tmp_path / 'run'}"]
    command = f'"$@" {redirection}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", command, "bash", sys.executable, *words], text=True)
    assert done.returncode == 0
    assert load(tmp_path / "run").step == 30
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows if '"loss"' in row] == [10, 20, 30]
    assert (tmp_path / "run" / "samples" / "samples.npz").exists()
