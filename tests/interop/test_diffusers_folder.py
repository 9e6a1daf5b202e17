"""Weights of diffusers in every kind of file; wrong indices and pipelines are errors."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from damaged_files import num_refused
from safetensors.numpy import load_file, save_file

from score_sde.experiments.loading import load
from score_sde.interop.diffusers_folder import is_diffusers, read_diffusers, read_weights

GOLDEN = Path(__file__).parents[1] / "golden" / "diffusers_unets"
SINGLE, INDEX = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
)
TENSORS = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b.bias": np.ones(3, np.float32),
}


def copy(name, folder):
    return Path(shutil.copytree(GOLDEN / name, folder))


def sharded(folder, places):
    """Both tensors in one shard, under an index of any places."""
    save_file(TENSORS, folder / "part.safetensors")
    (folder / INDEX).write_text(json.dumps({"weight_map": places}))
    return folder


def test_half_precisions_are_read_exactly(tmp_path):
    save_file(
        {"a": np.array([1.0, -2.5, 6e-5], np.float16)},
        tmp_path / "diffusion_pytorch_model.fp16.safetensors",
    )
    np.testing.assert_array_equal(
        read_weights(tmp_path)["a"], np.array([1.0, -2.5, 6e-5], np.float16)
    )
    name = "conv_in.weight"  # of bfloat16, whose values are the upper halves of float32
    value = read_weights(GOLDEN / "classes")[name]
    assert value.shape == (8, 1, 3, 3) and value.dtype == np.float32 and np.isfinite(value).all()
    assert (
        not (np.ascontiguousarray(value).view(np.uint32) & 0xFFFF).any()
        and 0.05 < value.std() < 2.0
    )


def test_full_precision_comes_first(tmp_path):
    for name, value in ((SINGLE, 1.0), ("diffusion_pytorch_model.fp16.safetensors", 2.0)):
        save_file({"a": np.full(3, value, np.float32)}, tmp_path / name)
    assert read_weights(tmp_path)["a"][0] == 1.0
    (tmp_path / SINGLE).unlink()
    assert read_weights(tmp_path)["a"][0] == 2.0


def test_shards_are_joined(tmp_path):
    found = read_weights(sharded(tmp_path, dict.fromkeys(TENSORS, "part.safetensors")))
    assert found.keys() == TENSORS.keys()
    np.testing.assert_array_equal(found["a.weight"], TENSORS["a.weight"])


@pytest.mark.parametrize("place", [
    "../part.safetensors", "/etc/passwd", "sub/part.safetensors", "..", "", "part.bin",
    "C:\\\\part.safetensors\\\\..",
])  # fmt: skip
def test_an_index_reads_no_file_outside_its_folder(place, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    save_file(TENSORS, tmp_path / "part.safetensors")
    with pytest.raises(ValueError, match=r"is no \.safetensors file of its folder") as refusal:
        read_weights(sharded(folder, {"a.weight": place}))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("text", "message"), [
    ('{"weight_map": {"c": "part.safetensors"}}', "part.safetensors is damaged: it lacks c, which"),
    ('{"weight_map": {"a.weight": 3}}', "is damaged: it is no index of tensors"),
    ('{"weight_map": {"a.weight": {}}}', "is damaged: it is no index of tensors"),
    ('{"weight_map": 3}', "is damaged: it is no index of tensors"),
    ("[" * 10000, "is damaged: it is no JSON"),
    (json.dumps({"weight_map": {str(i): f"{i}.safetensors" for i in range(1001)}}),
    "names 1001 files"),
])  # fmt: skip
def test_a_damaged_index_is_an_error_of_one_line(text, message, tmp_path):
    (sharded(tmp_path, {}) / INDEX).write_text(text)
    with pytest.raises(ValueError, match=message) as refusal:
        read_weights(tmp_path)
    assert "\n" not in str(refusal.value) and str(tmp_path) in str(refusal.value)


def test_a_missing_shard_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no other\.safetensors in .*, which .* names"):
        read_weights(sharded(tmp_path, {"a.weight": "other.safetensors"}))


def test_only_finite_floating_point_numbers_are_weights(tmp_path):
    save_file({"a": np.ones(3, np.int32)}, tmp_path / SINGLE)
    with pytest.raises(
        ValueError, match="a is of the type I32, where weights are floating-point numbers"
    ):
        read_weights(tmp_path)
    folder = copy("defaults", tmp_path / "model")
    (folder / "scheduler_config.json").write_text("{}")
    tensors = load_file(folder / SINGLE)
    tensors["conv_in.bias"] = np.full(8, np.inf, np.float32)
    save_file(tensors, folder / SINGLE)
    with pytest.raises(
        ValueError, match=r"damaged: the values of conv_in\.bias are not all finite"
    ):
        load(folder)


def test_averaged_parameters_come_first_and_other_pipelines_are_errors(tmp_path):
    for name, value in (("unet", 1.0), ("unet_ema", 2.0)):
        folder = copy("defaults", tmp_path / name)
        save_file(
            {**load_file(folder / SINGLE), "conv_in.bias": np.full(8, value, np.float32)},
            folder / SINGLE,
        )
    config = tmp_path / "unet_ema" / "config.json"
    config.write_text(
        json.dumps({**json.loads(config.read_text()), "decay": 0.9999, "optimization_step": 7})
    )
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text('{"timesteps": 20}')
    assert is_diffusers(tmp_path) and read_diffusers(tmp_path).tensors["conv_in.bias"][0] == 2.0
    found = read_diffusers(tmp_path / "unet")  # with the scheduler of the folder that it lies in
    assert found.tensors["conv_in.bias"][0] == 1.0 and found.sections["sde"]["num_scales"] == 20
    parts = {
        "_class_name": "LDMPipeline",
        "unet": ["diffusers", "UNet2DModel"],
        "vqvae": ["diffusers", "VQModel"],
    }
    (tmp_path / "model_index.json").write_text(json.dumps(parts))
    with pytest.raises(
        ValueError, match="has vqvae: only pipelines of a network and a scheduler are read"
    ):
        read_diffusers(tmp_path)


@pytest.mark.parametrize("name", ["scheduler_config.json", INDEX])
def test_damaged_files_are_read_or_are_errors_of_one_line(name, tmp_path):
    """200 mutations, seeded; none reads a file elsewhere, and none is another error."""
    folder = copy("classes", tmp_path / "model")
    scheduler = {
        "_class_name": "DDIMScheduler",
        "beta_end": 0.02,
        "beta_start": 0.0001,
        "beta_schedule": "linear",
    }
    (folder / "scheduler_config.json").write_text(
        json.dumps({**scheduler, "num_train_timesteps": 1000})
    )
    refused = num_refused(
        folder / name,
        lambda: read_diffusers(folder),
        count=200,
        name=str(folder),
        errors=(ValueError, FileNotFoundError),
    )
    assert refused > 100
