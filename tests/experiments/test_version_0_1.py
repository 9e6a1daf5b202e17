"""What version 0.1 has written still loads, and gives the same numbers.

``golden/version_0_1.tar.gz``: runs, an exported model and a sampler made by version 0.1
before its modules were moved, with the config files of the runs and what the models
gave then.
"""

import json
import tarfile
from pathlib import Path

import diffrax
import jax
import numpy as np
import pytest
import tiny

import score_sde as ss
from score_sde.evaluation import samples
from score_sde.runtime.naming import imported
from score_sde.runtime.trust import EVERYTHING

ARCHIVE = Path(__file__).parents[1] / "golden" / "version_0_1.tar.gz"

RUNS = ("points", "names", "digits")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("version_0_1")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def expected(files):
    with np.load(files / "expected.npz") as arrays:
        return dict(arrays)


def loaded(path):
    return ss.load(path, allow="score_sde" if path.name == "names" else ())


def drawn(model):
    def draw(i):
        key = jax.random.fold_in(jax.random.key(0), i)
        parts = model.sde, model.score_fn, model.sampler, model.shape
        return ss.sample(key, *parts, **model.drawing.options).x

    return jax.jit(jax.vmap(draw))(np.arange(4))


@pytest.mark.parametrize("name", [*RUNS, pytest.param("exported", marks=pytest.mark.slow)])
def test_a_model_draws_the_samples_that_it_drew(name, files, expected):
    samples = drawn(loaded(files / name))
    np.testing.assert_allclose(samples, expected[f"{name}_samples"], rtol=1e-4, atol=1e-5)


def test_an_average_gives_the_same_scores(files, expected):
    model = ss.load(files / "points", average="power:0.05")
    x = np.linspace(-1, 1, 8, dtype=np.float32).reshape(4, 2)
    scores = jax.vmap(model.score_fn, (0, None))(x, 0.3)
    np.testing.assert_allclose(scores, expected["average_scores"], rtol=1e-4, atol=1e-5)


def test_a_classifier_and_a_dequantizer_give_the_same_numbers(files, expected):
    x = np.random.default_rng(0).standard_normal((2, 8, 8, 1)).astype(np.float32)
    log_prob_fn = ss.load(files / "classifier", ss.NoisyClassifier).log_prob_fn
    found = jax.jit(jax.vmap(log_prob_fn, (0, None)))(x, 0.3)
    np.testing.assert_allclose(found, expected["classifier_log_probs"], rtol=1e-4, atol=1e-4)
    dequantizer = ss.load(files / "digits" / "dequantizer", ss.LearnedDequantizer).dequantizer
    offset = dequantizer.sample(jax.random.key(0), np.full((8, 8, 1), 3.0, np.float32)).offset
    np.testing.assert_allclose(offset, expected["dequantizer_offsets"], rtol=1e-4, atol=1e-5)


def test_names_in_a_saved_config_are_not_imported_unless_allowed(files):
    with pytest.raises(ValueError, match=r"names code: sde\.name='score_sde\.sdes\.vp:VPSDE'"):
        ss.load(files / "names")


HELPERS = {
    "score_sde.data.named.lmdb_file:DamagedDatabaseError",
    "score_sde.data.files:images_or_vectors",
    *("score_sde.data.picture_files:WrongImageError", "score_sde.models.refinenet:check_image"),
    *("score_sde.sampling.base:carried_wide", "score_sde.sampling.base:required"),
    *("score_sde.sampling.exponential:check_order",),
}
"""Errors, checks, decorators and helpers of 0.1 that are gone; no config had a use for them."""


def test_every_dotted_name_is_found(files):
    names = (files / "names.txt").read_text().split()
    assert len(names) > 700
    for name in names:
        if name in HELPERS or name.startswith("score_sde.models.options:"):
            continue
        assert callable(imported("sde", name, trust=EVERYTHING)), name


@pytest.mark.parametrize("name", ["Heun", "ShARK"])
def test_a_name_that_did_not_move_is_not_looked_for_elsewhere(name):
    assert imported("solver", f"score_sde.solvers:{name}", trust=EVERYTHING) is getattr(
        diffrax, name
    )


@pytest.mark.parametrize("name", ["points", "exported"])
def test_finished_samples_of_an_interrupted_run_are_found_again(name, files, tmp_path):
    folder = tmp_path / json.loads((files / "pieces.json").read_text())[name]
    folder.mkdir()
    pieces = samples.shards_of(loaded(files / name), jax.random.key(0), tmp_path)
    assert pieces.folder == folder


def test_an_exported_sampler_still_draws(files):
    call = jax.export.deserialize(bytearray((files / "sampler.stablehlo").read_bytes())).call
    samples = call(np.uint32(0), np.arange(4, dtype=np.uint32))
    assert samples.shape == (4, 2) and np.isfinite(samples).all()


@pytest.mark.parametrize("name", [pytest.param("points", marks=pytest.mark.slow), "names"])
def test_a_run_goes_on_with_its_config_file(name, files, tmp_path):
    workdir = tiny.copy_of(files / name, tmp_path)
    tiny.run(
        "train",
        f"--config={files / name}.py",
        f"--workdir={workdir}",
        "--config.training.num_steps=12",
    )
    assert loaded(workdir).step == 12


def test_snapshots_give_averages_of_other_widths(files, tmp_path):
    output = tmp_path / "model"
    tiny.run(
        "reconstruct-ema", f"--workdir={files / 'points'}", "--sigma_rel=0.07", f"--output={output}"
    )
    assert ss.load(output).step == 10
