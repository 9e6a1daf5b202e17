"""Models from what is on disk: workdirs, exported models, published checkpoints."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tiny
from ml_collections import ConfigDict

from score_sde import ProbabilityFlow, config_from_reference, sample
from score_sde.experiments.loading import load, saved_config
from score_sde.export.folder import CARD, WEIGHTS
from score_sde.export.model import export_model

GOLDEN = Path(__file__).parents[1] / "golden"


def test_a_model_is_loaded_from_its_workdir_its_checkpoints_or_one_of_them():
    workdir = tiny.toy_run()
    latest = load(workdir)
    assert latest.step == 30 and latest.shape == (2,)
    for model in (
        load(str(workdir)),
        load(workdir / "checkpoints"),
        load(workdir / "checkpoints" / "30"),
    ):
        assert model.step == 30
        jax.tree.map(np.testing.assert_array_equal, model.params, latest.params)
    for model in (
        load(workdir, step=20),
        load(workdir / "checkpoints" / "20"),
        load(workdir / "checkpoints", step=20),
    ):
        assert model.step == 20
    assert not np.array_equal(jax.tree.leaves(model.params)[0], jax.tree.leaves(latest.params)[0])


@pytest.mark.parametrize("path", ["none", "checkpoints", "7"])
def test_where_there_is_no_checkpoint(path, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no checkpoint in .*: train a model in workdir="):
        load(tmp_path / path)
    with pytest.raises(
        FileNotFoundError, match=r"no checkpoint of step 7 in .*: there are \[20, 30\]"
    ):
        load(tiny.toy_run(), step=7)


def test_the_saved_config_can_be_changed_and_loaded_with():
    config = saved_config(tiny.toy_run())
    assert config.model.hidden_sizes == (8,) and config.example.shape == (2,)
    config.sampling = ConfigDict({"name": "probability_flow", "rtol": 1e-2, "atol": 1e-2})
    assert load(tiny.toy_run(), config=config).sampler == ProbabilityFlow(rtol=1e-2, atol=1e-2)
    del config.example
    assert load(tiny.toy_run(), config=config).shape == (2,)
    config.model.hidden_sizes = (16,)
    with pytest.raises(
        ValueError,
        match=r"^model does not fit the trained parameters: .* is \(.*\) in the file and",
    ):
        load(tiny.toy_run(), config=config)


def test_the_saved_config_is_read_without_arrays(monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("arrays are read")

    for part in ("metadata", "restore"):
        monkeypatch.setattr(ocp.PyTreeCheckpointHandler, part, fail)
    workdir = tiny.toy_run()
    for path, step in (
        (workdir, None),
        (workdir, 20),
        (workdir / "checkpoints", 30),
        (workdir / "checkpoints" / "20", None),
    ):
        assert saved_config(path, step=step).example.shape == (2,)
    with pytest.raises(FileNotFoundError, match=r"no checkpoint of step 7 in .*: there are \[20"):
        saved_config(workdir, step=7)
    with pytest.raises(ValueError, match="arrays are read"):
        load(workdir)


def test_the_saved_config_of_a_damaged_checkpoint(tmp_path):
    workdir = tiny.copy_of(tiny.toy_run(), tmp_path)
    checkpoint = workdir / "checkpoints" / "30"
    expected = saved_config(workdir)
    for item in ("state", "ema_params"):
        shutil.rmtree(checkpoint / item)
    assert saved_config(workdir) == expected
    (checkpoint / "config" / "metadata").write_text("{bad")
    line = rf"^cannot read the checkpoint {checkpoint}, remove it [^\n]*: its config is broken$"
    with pytest.raises(ValueError, match=line):
        saved_config(workdir)
    assert saved_config(workdir, step=20) == expected


def test_a_loaded_model_samples_under_jit_and_vmap():
    model = load(tiny.toy_run())
    keys = jax.random.split(jax.random.key(0), 8)
    draw = jax.jit(
        jax.vmap(lambda key: sample(key, model.sde, model.score_fn, model.sampler, model.shape).x)
    )
    with tiny.quick_compilation():
        points, again = draw(keys), draw(keys[3:4])
    assert points.shape == (8, 2) and np.isfinite(points).all()
    np.testing.assert_allclose(points[3], again[0], rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The tiny model, exported; to be read only."""
    folder, model = tmp_path_factory.mktemp("models") / "toy", load(tiny.toy_run())
    export_model(folder, model.params, model.config, step=model.step)
    return folder


def test_an_exported_model_is_the_same_bit_for_bit(exported, tmp_path):
    model, again = load(tiny.toy_run()), load(exported)
    assert again.step == 30 and again.config == model.config and again.sampler == model.sampler
    jax.tree.map(np.testing.assert_array_equal, again.params, model.params)
    export_model(tmp_path / "again", again.params, again.config, step=again.step)
    for name in (CARD, WEIGHTS):
        assert (tmp_path / "again" / name).read_bytes() == (exported / name).read_bytes()


def test_an_exported_model_takes_another_config_and_has_one_step(exported):
    config = saved_config(exported)
    config.sampling = ConfigDict({"name": "probability_flow", "rtol": 1e-2, "atol": 1e-2})
    assert load(exported, step=30, config=config).sampler == ProbabilityFlow(rtol=1e-2, atol=1e-2)
    with pytest.raises(
        FileNotFoundError,
        match=r"no checkpoint of step 20 in .*: it is a model exported at step 30",
    ):
        load(exported, step=20)


def test_the_saved_config_of_an_exported_model_needs_no_weights(exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "model")
    (folder / WEIGHTS).unlink()
    assert saved_config(folder) == saved_config(folder, step=30) == saved_config(exported)
    with pytest.raises(FileNotFoundError, match=r"no checkpoint of step 20 .* at step 30$"):
        saved_config(folder, step=20)
    (folder / CARD).write_text("{bad")
    with pytest.raises(ValueError, match=rf"^{folder / CARD} is damaged: it is no JSON$"):
        saved_config(folder)


def test_a_published_checkpoint_needs_a_config():
    with pytest.raises(ValueError, match=r" needs a config: load\(path, config=\.\.\.\)$"):
        load(GOLDEN / "ddpm_vp.pth")
    config = config_from_reference(json.loads((GOLDEN / "ddpm_vp.json").read_text())["config"])
    assert load(GOLDEN / "ddpm_vp.pth", config=config).step == 1234
    del config.example
    with pytest.raises(ValueError, match="the config needs the section example"):
        load(GOLDEN / "ddpm_vp.pth", config=config)
