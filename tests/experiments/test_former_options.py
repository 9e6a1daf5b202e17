"""Networks whose defaults have changed, and networks that cannot take the time labels
of a config.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from score_sde import build, load
from score_sde.configs.default import section
from score_sde.experiments import resume
from score_sde.experiments.builders import build_model
from score_sde.experiments.loading import saved_config
from score_sde.experiments.sections import as_begun, with_former_options
from score_sde.export.model import export_model
from score_sde.models import ddpm

DIFFUSERS = Path(__file__).parents[1] / "golden" / "diffusers_ddpm"

SMALL = {"nf": 32, "ch_mult": (1,), "num_res_blocks": 1, "attn_resolutions": (), "dropout": 0.0}


def config_of(name, **options):
    config = tiny.config_of(tiny.DIGITS)
    config.model = section(name, **options)
    return config


def built(config):
    with tiny.abstract_init():
        return build(config)


def program(network):
    """What a network computes, as a text; nothing is compiled."""
    params = jax.eval_shape(network.init, jax.random.key(0))
    return str(jax.make_jaxpr(network.apply)(params, jnp.zeros((1, 8, 8, 1)), jnp.zeros(1)))


def saved_before(folder):
    """A model of DDPM with 32 channels as it was exported before it had the option
    ``num_groups``.
    """
    experiment = built(config_of("ddpm", **SMALL))
    config = dict(experiment.model.config)
    assert config["model"].pop("num_groups") is None
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), experiment.model.params)
    export_model(folder, params, config, step=1)
    return config


def test_a_model_saved_before_computes_what_it_did(tmp_path):
    config = saved_before(tmp_path / "model")
    old, new = (program(ddpm((8, 8, 1), **SMALL, num_groups=groups)) for groups in (32, None))
    assert old != new
    for given in (None, config, tiny.config_of(tiny.DIGITS).copy_and_resolve_references()):
        if given is not None and "nf" not in given["model"]:
            given.model = section("ddpm", **SMALL)
        model = load(tmp_path / "model", config=given)
        assert program(model.network) == old and model.config["model"]["num_groups"] == 32
    assert saved_config(tmp_path / "model").model.num_groups == 32
    with tiny.abstract_init():
        again = build_model(built(config_of("ddpm", **SMALL)).model.config, None, step=0)
    assert program(again.network) == new


def test_a_run_that_was_begun_before_goes_on_as_it_was(tmp_path, monkeypatch):
    saved = saved_before(tmp_path / "model")
    monkeypatch.setattr(resume, "newest_config", lambda folder: saved)
    config = config_of("ddpm", **SMALL)
    with pytest.raises(
        ValueError, match=r"holds a run with model\.num_groups=32 where this config has None"
    ):
        resume.check_resumes(tmp_path, built(config).model.config)
    experiment = built(resume.continued(tmp_path, config))
    assert experiment.model.config["model"]["num_groups"] == 32
    resume.check_resumes(tmp_path, experiment.model.config)
    monkeypatch.setattr(resume, "newest_config", lambda folder: None)
    assert resume.continued(tmp_path, config) is config


@pytest.mark.parametrize(
    "saved", [None, [], "x", {}, {"model": None}, {"model": ["ddpm"]}, {"model": "ddpm"}]
)
def test_a_saved_config_may_be_anything(saved):
    assert with_former_options(saved) == saved
    assert as_begun({"model": {"name": "ddpm"}}, saved)["model"]["num_groups"] == 32


def test_a_model_that_no_training_has_made_is_saved_as_it_is(tmp_path):
    experiment = built(config_of("ddpm", **SMALL))
    config = {**experiment.model.config, "model": {"name": "ddpm", **SMALL}}
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), experiment.model.params)
    model = build_model(config, params, step=0)
    export_model(tmp_path / "model", model.params, model.config, step=0)
    assert program(load(tmp_path / "model").network) == program(model.network)


def test_a_given_config_has_the_groups_of_a_folder_of_diffusers():
    """The golden network has levels of 32 channels, in 32 groups; by default it would have 8."""
    config = saved_config(DIFFUSERS)
    del config.model["num_groups"]
    assert load(DIFFUSERS, config=config).config["model"]["num_groups"] == 32


NCSNPP = {"nf": 8, "ch_mult": (1,), "num_res_blocks": 1, "attn_resolutions": ()}
EDM = section("edm", sigma_data=0.5)


def test_ncsnpp_takes_the_label_of_edm():
    config = config_of("ncsnpp", **NCSNPP)
    config.parameterization = EDM
    model = built(config).model
    params = jax.jit(model.network.init)(jax.random.key(0))
    times = jnp.array([1e-5, 1e-3, 0.1, 1.0])
    scores = jax.jit(jax.vmap(model.score_fn_of(params), (None, 0)))(jnp.ones(model.shape), times)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize(
    ("model", "parameterization", "objective", "message"),
    [
        (
            section("ncsn", nf=4),
            EDM,
            None,
            "NCSN takes as its time label the index of one of 10 noise levels, from 9",
        ),
        (
            section("ncsnv2", nf=4),
            section("discrete_score", num_scales=10),
            None,
            "discrete_score with num_scales=232$",
        ),
        (
            section("ncsnpp", **NCSNPP, scale_by_sigma=True),
            EDM,
            None,
            "choose scale_by_sigma=False, or time_label='n",
        ),
        (
            section("ncsnpp", **NCSNPP),
            section("discrete_noise"),
            section("ddpm"),
            "DiscreteNoisePrediction gives 0 at t=0: .* or embedding_type='positional' for indices "
            "from 0$",
        ),
        (
            section("ddpm", **SMALL, scale_by_sigma=True),
            section("noise"),
            None,
            "DDPM with scale_by_sigma takes as its",
        ),
    ],
)
def test_labels_that_a_network_cannot_take_are_errors_of_one_line(
    model, parameterization, objective, message
):
    config = config_of(**model)
    config.parameterization = parameterization
    if objective is not None:
        config.objective = objective
    with pytest.raises(ValueError, match=message) as error:
        built(config)
    assert "\n" not in str(error.value)
