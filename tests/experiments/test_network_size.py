"""A config describes no larger network than the file that it comes with."""

import json
from pathlib import Path

import numpy as np
import pytest

from score_sde.experiments.loading import config_from_reference
from score_sde.experiments.network_size import MAX_SCALES, check_network_size
from score_sde.interop.torch_file import read_torch

GOLDEN = Path(__file__).parents[1] / "golden"
UNET = {"name": "unet", "channels": 32, "channel_mult": [1, 2], "num_res_blocks": 1}
ARRAYS = [np.zeros((3, 4))] * 50


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"num_res_blocks": 10**6},
            "the blocks of model.num_res_blocks=2000000 must be at most 50, "
            "the file has 50 tensors",
        ),
        (
            {"num_res_blocks": 26},
            "the blocks of model.num_res_blocks=52 must be at most 50, the file has 50 tensors",
        ),
        (
            {"channel_mult": [1] * 51},
            "the length of model.channel_mult=51 must be at most 50, the file has 50 tensors",
        ),
        (
            {"channel_mult": [10**9]},
            "model.channel_mult=1000000000 must be at most 600, the file has 600 parameters",
        ),
        ({"channels": 601}, "model.channels=601 must be at most 600, the file has 600 parameters"),
        ({"num_scales": 10**9}, f"model.num_scales=1000000000 must be at most {MAX_SCALES}"),
    ],
)
def test_a_network_has_no_more_than_its_file(changes, message):
    check_network_size({"model": UNET}, ARRAYS)
    with pytest.raises(ValueError) as error:
        check_network_size({"model": {**UNET, **changes}}, ARRAYS)
    assert str(error.value) == message


def test_noise_levels_of_any_section_are_bounded():
    section = {"name": "discrete_noise", "num_scales": MAX_SCALES + 1}
    with pytest.raises(ValueError, match=r"^parameterization.num_scales=1000001 must be at most"):
        check_network_size({"model": UNET, "parameterization": section}, ARRAYS)


@pytest.mark.parametrize("name", ["ddpm_vp", "ddpmpp_subvp", "ncsnpp_ve", "ncsnpp_ve_highres"])
def test_networks_of_2021_have_several_tensors_for_each_block(name):
    reference = json.loads((GOLDEN / f"{name}.json").read_text())["config"]
    tensors = read_torch(GOLDEN / f"{name}.pth")["model"].values()
    arrays = [value for value in tensors if isinstance(value, np.ndarray)]
    check_network_size(config_from_reference(reference).to_dict(), arrays)
