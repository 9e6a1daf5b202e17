"""What an override of the name of a section takes away with it."""

import copy

import pytest

from score_sde.cli.leftovers import drop_leftovers


def test_leftovers_of_another_name_are_dropped_and_what_was_asked_for_stays():
    before = {
        "sampling": {"name": "heun", "num_steps": 5, "grid": "uniform", "num_samples": 3, "typo": 1}
    }
    config = copy.deepcopy(before)
    config["sampling"]["name"] = "probability_flow"
    drop_leftovers(config, before, given={"sampling.name"})
    assert config["sampling"] == {"name": "probability_flow", "num_samples": 3, "typo": 1}
    config = copy.deepcopy(before)
    config["sampling"]["name"] = "probability_flow"
    drop_leftovers(config, before, given={"sampling.name", "sampling.num_steps"})
    assert "num_steps" in config["sampling"] and "grid" not in config["sampling"]
    config = {"sampling": {"name": "probability_flow", "num_steps": 5}}
    drop_leftovers(config, before, given={"sampling"})
    assert "num_steps" in config["sampling"]
    nested = {"eval": {"divergence": {"name": "hutchinson", "num_probes": 3, "kind": "gaussian"}}}
    config = copy.deepcopy(nested)
    config["eval"]["divergence"]["name"] = "exact"
    drop_leftovers(config, nested, given=())
    assert config["eval"]["divergence"] == {"name": "exact"}


def test_another_sampler_takes_its_own_default_grid():
    """The grid of Euler-Maruyama, uniform in t, ruins samplers in the noise level."""
    before = {"sampling": {"name": "euler_maruyama", "num_steps": 5, "grid": "uniform"}}
    config = copy.deepcopy(before)
    config["sampling"]["name"] = "exponential_shark"
    drop_leftovers(config, before, given={"sampling.name"})
    assert config["sampling"] == {"name": "exponential_shark", "num_steps": 5}
    config = {"sampling": {"name": "exponential_shark", "num_steps": 5, "grid": "edm"}}
    drop_leftovers(config, before, given={"sampling.name", "sampling.grid"})
    assert config["sampling"]["grid"] == "edm"


def test_another_source_takes_away_the_options_of_the_one_before():
    before = {
        "data": {
            "source": "lsun",
            "category": "bedroom",
            "image_size": 64,
            "flip": True,
            "path": "lsun",
        }
    }
    for source, kept in (
        ("folder:photos", {"image_size"}),
        ("svhn", {"image_size", "path"}),
        ("no source", set()),
    ):
        config = copy.deepcopy(before)
        config["data"]["source"] = source
        drop_leftovers(config, before, given={"data.source"})
        assert set(config["data"]) == {"source", "flip", *kept}
    config = copy.deepcopy(before)
    config["data"]["source"] = "folder:photos"
    drop_leftovers(config, before, given={"data.source", "data.category"})
    assert "category" in config["data"]


def test_a_source_takes_no_option_of_a_function_of_the_users_own():
    before = {"data": {"source": "no_module:photos", "seed": "a", "size": 3, "flip": True}}
    config = copy.deepcopy(before)
    config["data"]["source"] = "mixture"
    drop_leftovers(config, before, given={"data.source"})
    assert config["data"] == {"source": "mixture", "flip": True}
    config["data"] = {**before["data"], "source": "mixture"}
    drop_leftovers(config, before, given={"data.source", "data.seed"})
    assert config["data"] == {"source": "mixture", "flip": True, "seed": "a"}


def test_nothing_is_dropped_for_the_same_name_and_an_unknown_one_is_a_usage_error():
    before = {"sampling": {"name": "heun", "num_steps": 5}, "sde": {"name": "vp", "beta_max": 3.0}}
    config = copy.deepcopy(before)
    drop_leftovers(config, before, given=())
    assert config == before
    config["sampling"]["name"] = "huen"
    with pytest.raises(ValueError, match="unknown sampling 'huen', did you mean 'heun'"):
        drop_leftovers(config, before, given=())
