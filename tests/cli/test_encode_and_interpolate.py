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
    with Image.open(rows["picture of latents"]) as image:
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
    with Image.open(rows["picture of interpolation"]) as image:
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


@pytest.mark.parametrize("verb", ["encode", "interpolate"])
def test_a_latent_that_is_not_finite_fails_in_one_line(verb, workdir, monkeypatch, capsys):
    monkeypatch.setattr(encoding, "in_batches", lambda *args: iter([np.full((8, 2), np.nan)]))
    with tiny.quick_compilation():
        assert main([verb, f"--workdir={workdir}"]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert (
        errors[-1]
        == f"score-sde {verb}: some results are not finite: the adaptive solve did not reach its "
        "end"
    )
    assert not list(workdir.rglob("*.npz"))


WRONG = [
    ("encode", ["--split=tset"], "--split must be test or train, got 'tset'"),
    ("encode", ["--num_examples=0"], "eval.max_examples must be at least 1, got 0"),
    ("encode", ["--output=config.json"], "config.json is a file where a folder is needed"),
    ("interpolate", ["--split="], "--split must be test or train, got ''"),
    (
        "interpolate",
        ["--first=12"],
        "--first=12 is too large: test has 12 examples, counted from 0",
    ),
    ("interpolate", ["--second=99"], "--second=99 is too large: test has 12 examples"),
    ("interpolate", ["--first=-1"], "--first must be a non-negative integer, got '-1'"),
    ("interpolate", ["--first=1"], "--first and --second must be two examples, got 1 twice"),
    (
        "interpolate",
        ["--first=1", "--num_pairs=2"],
        "--num_pairs and --first, --second exclude each other",
    ),
    ("interpolate", ["--num_pairs=7"], "--num_pairs=7 needs 14 examples, test has 12"),
    ("interpolate", ["--num_pairs=0"], "--num_pairs must be a positive integer, got '0'"),
    ("interpolate", ["--num_steps=2"], "--num_steps must be an integer >= 3, got '2'"),
    ("interpolate", ["--temperature=0"], "--temperature must be positive and finite, got 0.0"),
    ("interpolate", ["--temperature=nan"], "--temperature must be positive and finite, got nan"),
    ("interpolate", ["--temperature=warm"], "--temperature must be a number, got 'warm'"),
    ("interpolate", ["--batch=0"], "eval.batch_size must be at least 1, got 0"),
    ("interpolate", ["--output=config.json"], "config.json is a file where a folder is needed"),
]


@pytest.mark.parametrize(("verb", "flags", "message"), WRONG)
def test_wrong_flags(verb, flags, message, refused, monkeypatch):
    monkeypatch.chdir(tiny.toy_run())
    assert message in refused(verb, f"--workdir={tiny.toy_run()}", *flags)
    assert not [
        path for path in tiny.toy_run().iterdir() if path.name in ("latents", "interpolation")
    ]
