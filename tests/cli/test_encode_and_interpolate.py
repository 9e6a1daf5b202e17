"""``score-sde encode`` and ``score-sde interpolate``: latents of held-out data, and the
ways between them.
"""

import json

import numpy as np
import pytest
import tiny
from PIL import Image

from score_sde.cli import main
from score_sde.evaluation import encoding
from score_sde.experiments.builders import load_data
from score_sde.experiments.loading import load

PRECISELY = ("--config.eval.rtol=1e-5", "--config.eval.atol=1e-5")
DIGITS = pytest.param(tiny.digits_run, id="digits", marks=pytest.mark.slow)
RUNS = [pytest.param(tiny.toy_run, id="toy"), DIGITS]


@pytest.fixture
def workdir(tmp_path):
    return tiny.copy_of(tiny.toy_run(), tmp_path)


def arrays(path):
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def report(workdir):
    return json.loads((workdir / "report.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("trained", RUNS)
def test_latents_of_held_out_examples(trained, tmp_path):
    workdir = tiny.copy_of(trained(), tmp_path)
    text = tiny.run("encode", f"--workdir={workdir}", "--num_examples=10", "--batch=4", *PRECISELY)
    found, model = arrays(workdir / "latents" / "latents.npz"), load(workdir)
    assert found.keys() == {"latent", "levels"}
    np.testing.assert_array_equal(found["levels"], load_data(model.config).test[:10])
    assert found["latent"].shape == (10, *model.shape) and found["latent"].dtype == np.float32
    rows = report(workdir)
    assert rows["latents, test"] == f"10 examples, {workdir}/latents/latents.npz"
    square = np.square(found["latent"]).mean()
    assert rows["mean square of the latents"].startswith(f"{square:.4f} ± ")
    assert float(rows["reconstruction error"].split()[0]) < (
        0.5 if model.scaling.num_levels else 0.02
    )
    assert "encode: 10/10 examples" in text and "decode: 10/10 examples" in text
    assert all(row in text for row in (rows["latents, test"], rows["reconstruction error"]))
    with Image.open(rows["figure of latents"]) as image:
        assert image.size[0] > image.size[1]


@pytest.mark.slow
def test_a_latent_depends_on_its_index_and_the_seed_alone(workdir):
    """Points have no seed, for they are not dequantised; but they have a split."""
    whole = ["encode", f"--workdir={workdir}"]
    tiny.run(*whole, "--batch=8")
    latents = arrays(workdir / "latents" / "latents.npz")["latent"]
    tiny.run(*whole, "--num_examples=3", "--batch=2", f"--output={workdir / 'few'}")
    assert len(latents) == 12
    np.testing.assert_allclose(
        arrays(workdir / "few" / "latents.npz")["latent"], latents[:3], rtol=1e-3, atol=1e-3
    )
    tiny.run("interpolate", f"--workdir={workdir}", "--first=7", "--second=2", "--num_steps=3")
    ends = arrays(workdir / "interpolation" / "interpolation.npz")["latent"][0, [0, -1]]
    np.testing.assert_allclose(ends, latents[[7, 2]], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("trained", RUNS)
def test_ways_between_pairs(trained, tmp_path):
    workdir = tiny.copy_of(trained(), tmp_path)
    text = tiny.run(
        "interpolate", f"--workdir={workdir}", "--num_pairs=3", "--num_steps=5", *PRECISELY
    )
    found, model = arrays(workdir / "interpolation" / "interpolation.npz"), load(workdir)
    assert found.keys() == {"index", "weight", "latent", "levels"}
    assert found["index"].tolist() == [[0, 1], [2, 3], [4, 5]] and found["weight"].tolist() == [
        0,
        0.25,
        0.5,
        0.75,
        1,
    ]
    assert found["latent"].shape == found["levels"].shape == (3, 5, *model.shape)
    examples = load_data(model.config).test
    ends = found["levels"][:, [0, -1]].astype(float) - examples[found["index"]]
    assert np.sqrt(np.square(ends).mean()) < (1.0 if model.scaling.num_levels else 0.02)
    rows = report(workdir)
    assert (
        rows["interpolation, test"] == "3 pairs, 5 steps each, temperature 1"
        and rows["interpolated"] in text
    )
    with Image.open(rows["figure of interpolation"]) as image:
        assert image.size[0] > image.size[1]


@pytest.mark.slow
def test_one_pair_of_the_training_data_at_a_lower_temperature(workdir):
    flags = ("--split=train", "--second=5", "--num_steps=3")
    latents = []
    for temperature in ("1.0", "0.5"):
        tiny.run("interpolate", f"--workdir={workdir}", *flags, f"--temperature={temperature}")
        found = arrays(workdir / "interpolation" / "interpolation.npz")
        assert found["index"].tolist() == [[0, 5]]
        latents.append(found["latent"])
    np.testing.assert_allclose(latents[1], 0.5 * latents[0], rtol=1e-6)
    assert "temperature 0.5" in report(workdir)["interpolation, train"]


@pytest.mark.parametrize("command", ["encode", "interpolate"])
def test_a_latent_that_is_not_finite_fails_in_one_line(command, workdir, monkeypatch, capsys):
    monkeypatch.setattr(encoding, "in_batches", lambda *args: iter([np.full((8, 2), np.nan)]))
    with tiny.quick_compilation():
        assert main([command, f"--workdir={workdir}"]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert (
        errors[-1]
        == f"score-sde {command}: some results are not finite: the adaptive solve did not reach "
        "its end"
    )
    assert not list(workdir.rglob("*.npz"))


WRONG = [
    ("encode", ["--split=tset"], "--split=tset must be test or train"),
    ("encode", ["--num_examples=0"], "eval.max_examples=0 must be at least 1"),
    ("encode", ["--output=config.json"], "config.json is a file where a folder is needed"),
    ("interpolate", ["--split="], "--split has no value"),
    (
        "interpolate",
        ["--first=12"],
        "--first=12 must be less than 12, the number of test examples",
    ),
    (
        "interpolate",
        ["--second=99"],
        "--second=99 must be less than 12",
    ),
    ("interpolate", ["--first=-1"], "--first=-1 must be an integer in the range [0, 2147483647]"),
    ("interpolate", ["--first=1"], "--first=1 must be another example than --second=1"),
    (
        "interpolate",
        ["--first=1", "--num_pairs=2"],
        "--num_pairs and --first, --second exclude each other",
    ),
    (
        "interpolate",
        ["--num_pairs=7"],
        "--num_pairs=7 must be at most 6, as there are 12",
    ),
    (
        "interpolate",
        ["--num_pairs=0"],
        "--num_pairs=0 must be an integer in the range [1, 2147483647]",
    ),
    (
        "interpolate",
        ["--num_steps=2"],
        "--num_steps=2 must be an integer in the range [3, 2147483647]",
    ),
    ("interpolate", ["--temperature=0"], "--temperature=0.0 must be positive and finite"),
    ("interpolate", ["--temperature=nan"], "--temperature=nan must be positive and finite"),
    ("interpolate", ["--temperature=warm"], "--temperature=warm must be a number"),
    ("interpolate", ["--batch=0"], "eval.batch_size=0 must be at least 1"),
    ("interpolate", ["--output=config.json"], "config.json is a file where a folder is needed"),
]


@pytest.mark.parametrize(("command", "flags", "message"), WRONG)
def test_wrong_flags(command, flags, message, usage_error, monkeypatch):
    monkeypatch.chdir(tiny.toy_run())
    assert message in usage_error(command, f"--workdir={tiny.toy_run()}", *flags)
    assert not [
        path for path in tiny.toy_run().iterdir() if path.name in ("latents", "interpolation")
    ]
