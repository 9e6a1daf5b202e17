"""A renamed keyword works for one version, with a warning, and stays readable in configs."""

import dataclasses
import inspect
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

import score_sde as ss
from score_sde.data import Scaling
from score_sde.experiments import tables
from score_sde.experiments.construction import call, construct
from score_sde.export.model import export_model
from score_sde.likelihood.estimators import DDPMEstimator
from score_sde.parameterization import NoisePrediction, StepIndex
from score_sde.renamed import renamed
from score_sde.runtime.trust import EVERYTHING
from score_sde.sdes import ddpm_marginals, scheduled_betas


@renamed(count="num_steps")
def steps(start, *, num_steps=3):
    return list(range(start, num_steps))


def test_a_former_keyword_is_the_present_one_with_a_warning():
    message = r"^count= is now num_steps=; the former name goes with version 0\.3$"
    with pytest.warns(DeprecationWarning, match=message):
        assert steps(0, count=2) == steps(0, num_steps=2)
    assert list(inspect.signature(steps).parameters) == ["start", "num_steps"]


def test_a_keyword_under_both_names_is_refused():
    with pytest.raises(ValueError, match="count= is the former name of num_steps=: give num_s"):
        steps(0, count=2, num_steps=2)


@pytest.mark.parametrize(
    ("make", "former", "present"),
    [
        (ss.DiscreteVPSDE, "num_levels", "num_scales"),
        (StepIndex, "num_levels", "num_scales"),
        (DDPMEstimator, "num_levels", "num_terms"),
    ],
)
def test_a_value_made_by_a_former_keyword_is_equal_and_has_the_former_attribute(
    make, former, present
):
    wanted = make(**{present: 20})
    with pytest.warns(DeprecationWarning, match=f"{former}= is now {present}="):
        found = make(**{former: 20})
    assert found == wanted and hash(found) == hash(wanted)
    assert dataclasses.replace(found, **{present: 30}) == make(**{present: 30})
    with pytest.warns(DeprecationWarning, match=f"{make.__name__}.{former} is now {present}"):
        assert getattr(found, former) == 20


def test_functions_take_former_keywords():
    def bound(**terms):
        key, x = jax.random.key(0), jnp.full(2, 0.3)
        return ss.ddpm_vlb(key, lambda x, t: -x, ddpm_marginals(30), x, **terms)

    with pytest.warns(DeprecationWarning, match="num_levels= is now num_terms="):
        assert bound(num_levels=3) == bound(num_terms=3)
    with pytest.warns(DeprecationWarning, match="num_levels= is now num_scales="):
        betas = scheduled_betas(num_levels=5)
    np.testing.assert_array_equal(betas, scheduled_betas(num_scales=5))


@pytest.mark.parametrize(
    ("section", "kind", "former", "wanted"),
    [
        ("sde", ss.SDE, {"name": "discrete_vp", "num_levels": 9}, ss.DiscreteVPSDE(num_scales=9)),
        (
            "parameterization",
            NoisePrediction,
            {"name": "noise", "time_label": {"name": "step_index", "num_levels": 9}},
            NoisePrediction(time_label=StepIndex(num_scales=9)),
        ),
        (
            "eval.bound",
            DDPMEstimator,
            {"name": "ddpm", "num_levels": 9},
            DDPMEstimator(num_terms=9),
        ),
    ],
)
def test_a_section_with_a_former_key_is_read_without_a_warning(section, kind, former, wanted):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert construct(section, kind, former) == wanted


def test_a_section_with_a_key_under_both_names_is_refused():
    both = {"num_levels": 9, "num_scales": 9}
    with pytest.raises(ValueError, match=r"sde\.num_levels is the former name of sde\.num_scales"):
        construct("sde", ss.SDE, {"name": "discrete_vp", **both})


def test_a_key_of_the_same_name_elsewhere_stays():
    grey = call("data", Scaling, {}, trust=EVERYTHING, num_levels=9)
    assert grey.num_levels == 9


@pytest.mark.parametrize("configured", tables.FORMER_KEYS)
def test_each_former_key_of_a_config_leads_to_a_present_one(configured):
    keys = inspect.signature(configured).parameters
    for former, present in tables.FORMER_KEYS[configured].items():
        assert present in keys and former not in keys


def test_an_exported_model_with_former_keys_is_loaded(tmp_path):
    config = tiny.config_of(tiny.TOY).to_dict()
    config["example"] = {"shape": [2], "num_levels": None}
    config["sde"] = {"name": "discrete_vp", "num_levels": 20, "t_min": 0.05}
    config["parameterization"] = {
        "name": "noise",
        "time_label": {"name": "step_index", "num_levels": 20},
    }
    with tiny.abstract_init():
        params = ss.build_model(config, None, step=3).params
    export_model(tmp_path / "model", params, config, step=3)
    found = ss.load(tmp_path / "model")
    assert found.sde == ss.DiscreteVPSDE(num_scales=20, t_min=0.05)
    assert found.parameterization == NoisePrediction(time_label=StepIndex(num_scales=20))
