"""Initial parameters from files of other projects, and parameters that do not fit."""

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from score_sde.experiments.base import checked_params, fitted_params
from score_sde.experiments.loading import config_from_reference, load, trained_params
from score_sde.models import from_functions

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize("name", ["ddpm_vp.pth", "diffusers_ddpm"])
def test_a_model_of_another_project_is_read_for_the_network_of_a_config(name):
    config = None
    if name.endswith(".pth"):
        fields = json.loads((GOLDEN / "ddpm_vp.json").read_text())["config"]
        config = config_from_reference(fields)
    model = load(GOLDEN / name, config=config)
    found = trained_params(GOLDEN / name, model)
    assert found.config is None and found.step is None
    jax.tree.map(
        np.testing.assert_array_equal, fitted_params(model.network, found.params), model.params
    )
    with pytest.raises(ValueError, match="has only one average of the parameters and no 'none'"):
        trained_params(GOLDEN / name, model, average="none")


SHAPES = {"a": (2, 3), "b": {"c": (4,)}, "d": (), "e": (1,)}


def network(dtype=jnp.float32):
    def init(key):
        return jax.tree.map(
            lambda shape: jnp.zeros(shape, dtype), SHAPES, is_leaf=lambda leaf: type(leaf) is tuple
        )

    return from_functions(init, lambda params, x, t: x)


def test_parameters_take_the_types_of_the_network():
    params = jax.tree.map(lambda leaf: leaf + 1 / 3, network().init(jax.random.key(0)))
    found = fitted_params(network(jnp.bfloat16), params)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(jnp.bfloat16)}
    np.testing.assert_array_equal(found["b"]["c"], params["b"]["c"].astype(jnp.bfloat16))


def test_the_first_differences_are_named():
    params = network().init(jax.random.key(0))
    wrong = {**params, "a": np.zeros(3), "d": np.zeros(2), "f": np.zeros(())}
    del wrong["e"]
    expected = (
        "model does not fit the trained parameters: a is (3,) in the file and (2, 3) in the "
        "network; d is (2,) in the file and () in the network; e is missing in the file and "
        "(1,) in the network; and 1 more"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        checked_params(network(), wrong)
