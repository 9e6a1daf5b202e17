"""Networks and samplers agree with diffusers, whose numbers
scripts/make_diffusers_golden.py wrote.
"""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import SLOW

from score_sde.experiments.loading import load
from score_sde.models import make_score_fn
from score_sde.solvers import StepNoise

GOLDEN = Path(__file__).parents[1] / "golden" / "diffusers_unets"
CASES = json.loads((GOLDEN / "samples.json").read_text())["cases"]
FAST = ("ddim_zero_snr",)
PLAIN = {"_class_name": "DDPMScheduler"}


def copy(name, folder, scheduler=PLAIN):
    """A network of the golden files with a scheduler beside it."""
    path = Path(shutil.copytree(GOLDEN / name, folder / name))
    (path / "scheduler_config.json").write_text(json.dumps(scheduler))
    return path


def nhwc(x):
    return jnp.asarray(x.transpose(0, 2, 3, 1))


def nchw(x):
    return np.asarray(x).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("name", ["defaults", "options", "classes"])
def test_networks_with_any_options_and_weights_agree_with_diffusers(name, tmp_path):
    """Defaults of UNet2DModel in float32; other options in half precision; classes in
    shards of bfloat16.
    """
    model, numbers = load(copy(name, tmp_path)), np.load(GOLDEN / name / "io.npz")
    label = jnp.asarray(numbers["labels"], jnp.int32) if "labels" in numbers else None
    y = jax.jit(model.network.apply)(
        model.params, nhwc(numbers["x"]), jnp.asarray(numbers["t"], float), condition=label
    )
    np.testing.assert_allclose(nchw(y), numbers["y"], atol=1e-5 * numbers["y"].std())


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FAST else SLOW) for name in CASES]
)
def test_samples_agree_with_diffusers_for_the_same_latent_and_noise(name, tmp_path, monkeypatch):
    case, numbers = CASES[name], np.load(GOLDEN / "samples.npz")
    model = load(copy("defaults", tmp_path, case["scheduler"]))
    noise = jnp.asarray(numbers["noise"].transpose(1, 0, 3, 4, 2))
    sampler = dataclasses.replace(model.sampler, num_steps=case["num_steps"])
    sampler = dataclasses.replace(sampler, eta=case["eta"]) if case["eta"] else sampler
    key = jax.random.key(0)

    def draw(latent, noise):
        with monkeypatch.context() as patched:
            patched.setattr(StepNoise, "draw", lambda self, step: noise[step])
            return sampler.solve(key, model.sde, model.score_fn, latent).x

    x = nchw(jax.jit(jax.vmap(draw))(nhwc(numbers["latent"]), noise))
    np.testing.assert_allclose(x, numbers[name], atol=1e-4 * numbers[name].std())


def test_a_network_of_classes_needs_a_class(tmp_path):
    model = load(copy("classes", tmp_path))
    with pytest.raises(
        ValueError, match="is conditioned on a class label: give the condition of each sample"
    ) as refusal:
        model.score_fn_of(model.params)
    assert "\n" not in str(refusal.value)
    own = model.score_fn_of(model.params, 0)
    assert jax.eval_shape(lambda: own(jnp.zeros(model.shape), 0.5)).shape == model.shape
    score_fn = make_score_fn(
        model.sde, model.network, model.parameterization, model.params, condition=0
    )
    assert jax.eval_shape(lambda: score_fn(jnp.zeros(model.shape), 0.5)).shape == model.shape
