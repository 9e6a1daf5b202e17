"""Folders of diffusers' UNet2DModel: the same outputs; other options and damage refused in one line."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from score_sde.interop.diffusers_folder import is_diffusers, read_diffusers
from score_sde.loading import load, saved_config

GOLDEN = Path(__file__).parents[1] / "golden"
KINDS = ["ddpm", "ncsnpp"]
WEIGHTS = "diffusion_pytorch_model.safetensors"
OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def copy(kind, folder):
    path = Path(shutil.copytree(GOLDEN / f"diffusers_{kind}", folder / kind))
    for file in path.iterdir():
        file.chmod(0o644)
    return path


def change(folder, **options):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **options}))


def rename(folder, to):
    """The weights under other names, by a function of name and value to both."""
    save_file(dict(to(*item) for item in load_file(folder / WEIGHTS).items()), folder / WEIGHTS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_network_is_that_of_diffusers(kind):
    folder = GOLDEN / f"diffusers_{kind}"
    model, numbers = load(folder), np.load(folder / "io.npz")
    x, t = jnp.asarray(numbers["x"].transpose(0, 2, 3, 1)), jnp.asarray(numbers["t"], jnp.float32)
    y = np.asarray(jax.jit(model.network.apply)(model.params, x, jnp.broadcast_to(t, len(x))))
    expected = numbers["y"].transpose(0, 2, 3, 1)
    assert np.linalg.norm(y - expected) < 1e-4 * np.linalg.norm(expected)


@pytest.mark.parametrize("kind", KINDS)
def test_attention_may_have_its_older_names_and_its_maps_windows_of_one_pixel(kind, tmp_path):
    folder = copy(kind, tmp_path)

    def older(name, value):
        for new, old in OLD.items():
            if f".{new}." in name:
                value = value[:, :, None, None] if value.ndim == 2 else value
                name = name.replace(f".{new}.", f".{old}.")
        return name, value

    rename(folder, older)
    assert not any("to_q" in name for name in load_file(folder / WEIGHTS))
    jax.tree.map(np.testing.assert_array_equal, load(folder).params, load(GOLDEN / f"diffusers_{kind}").params)


def test_the_sde_is_that_of_the_scheduler(tmp_path):
    pipeline = tmp_path / "pipeline"
    (pipeline / "scheduler").mkdir(parents=True)
    (pipeline / "model_index.json").write_text("{}")
    copy("ncsnpp", pipeline).rename(pipeline / "unet")
    assert saved_config(pipeline).sde.sigma_max == 50.0
    scheduler = {"sigma_min": 0.02, "sigma_max": 90.0, "num_train_timesteps": 500, "snr": 0.2}
    (pipeline / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    config = saved_config(pipeline)
    assert (config.sde.sigma_min, config.sde.sigma_max) == (0.02, 90.0)
    assert (config.sampling.num_steps, config.sampling.snr) == (500, 0.2)
    assert not config.data.centered and config.model.rescale_input
    shutil.rmtree(pipeline / "unet")
    copy("ddpm", pipeline).rename(pipeline / "unet")
    scheduler = {"beta_start": 2e-4, "beta_end": 0.04, "num_train_timesteps": 500}
    (pipeline / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    config = load(pipeline).config
    assert config["parameterization"] == {
        "name": "discrete_noise",
        "num_scales": 500,
        "beta_min": 0.1,
        "beta_max": 20.0,
    }
    for name, value in (("beta_schedule", "squaredcos_cap_v2"), ("prediction_type", "v_prediction")):
        (pipeline / "scheduler" / "scheduler_config.json").write_text(json.dumps({**scheduler, name: value}))
        with pytest.raises(ValueError, match=f"{name}='{value}' is none that can be read"):
            load(pipeline)


def test_what_is_a_folder_of_diffusers(tmp_path):
    assert is_diffusers(GOLDEN / "diffusers_ddpm") and not is_diffusers(tmp_path)
    copy("ddpm", tmp_path).rename(tmp_path / "unet")
    assert not is_diffusers(tmp_path)
    (tmp_path / "model_index.json").write_text("{}")
    assert is_diffusers(tmp_path)
    with pytest.raises(ValueError, match="is no folder of diffusers"):
        read_diffusers(tmp_path / "none")


def test_a_folder_with_options_of_another_program_is_none_of_diffusers(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model": {"name": "mlp"}}))
    assert not is_diffusers(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "UNet2DModel"}))
    assert is_diffusers(tmp_path)


@pytest.mark.parametrize(("kind", "options", "message"), [
    ("ddpm", {"downsample_padding": 1}, "downsample_padding=1 is none that can be read, only 0"),
    ("ddpm", {"resnet_time_scale_shift": "scale_shift"}, "resnet_time_scale_shift='scale_shift' is none"),
    ("ddpm", {"attention_head_dim": 8}, "attention_head_dim=8 is none that can be read, only None"),
    ("ddpm", {"class_embed_type": "timestep"}, "class_embed_type='timestep' is none"),
    ("ddpm", {"down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"]}, "no block 'CrossAttnDownBlock2D', only"),
    ("ddpm", {"up_block_types": ["UpBlock2D", "AttnUpBlock2D"]}, "do not mirror"),
    ("ddpm", {"block_out_channels": [32, 48]}, "must be multiples of the first"),
    ("ddpm", {"block_out_channels": [64, 64]}, "has the shape"),
    ("ddpm", {"layers_per_block": 2}, "the weights lack down_blocks.0.resnets.1."),
    ("ddpm", {"sample_size": None}, "a whole number of 1 or more is needed where there is None"),
    ("ddpm", {"_class_name": "UNet2DConditionModel"}, "it is of the class 'UNet2DConditionModel'"),
    ("ncsnpp", {"center_input_sample": False}, "center_input_sample=False is none"),
    ("ncsnpp", {"norm_num_groups": 32}, "norm_num_groups=32 is none"),
])  # fmt: skip
def test_other_options_are_refused_in_one_line(kind, options, message, tmp_path):
    folder = copy(kind, tmp_path)
    change(folder, **options)
    with pytest.raises(ValueError, match=message) as refusal:
        load(folder)
    assert "\n" not in str(refusal.value) and str(folder) in str(refusal.value)


def test_weights_that_do_not_fit_are_named(tmp_path):
    folder = copy("ddpm", tmp_path)
    name = "mid_block.attentions.0.to_q.weight"
    for to, message in [
        (lambda n, v: (n.replace(name, "odd"), v), f"the weights lack {name}, for middle_attention/query/kernel"),
        (lambda n, v: (n, v[:3] if n == name else v), rf"{name} has the shape \(3, 64\), the network needs \(64, 64\)"),
    ]:
        shutil.copy(GOLDEN / "diffusers_ddpm" / WEIGHTS, folder / WEIGHTS)
        rename(folder, to)
        with pytest.raises(ValueError, match=message):
            load(folder)
    shutil.copy(GOLDEN / "diffusers_ddpm" / WEIGHTS, folder / WEIGHTS)
    save_file({**load_file(folder / WEIGHTS), "more": np.zeros(3, np.float32)}, folder / WEIGHTS)
    with pytest.raises(ValueError, match="no place for 1 of the weights, the first is more"):
        load(folder)
    (folder / WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError, match=r"no diffusion_pytorch_model.safetensors or"):
        load(folder)


@pytest.mark.parametrize("name", ["config.json", WEIGHTS])
def test_damaged_files_are_read_or_refused_in_one_line(name, tmp_path):
    """200 mutations, seeded, of the options or of the header of the weights."""
    folder = copy("ncsnpp", tmp_path)
    whole, rng, refused = (folder / name).read_bytes(), np.random.default_rng(0), 0
    for case in range(200):
        data = bytearray(whole)
        place = int(rng.integers(min(len(data), 4000)))
        if case % 4 == 0:
            data[place] ^= 1 << int(rng.integers(8))
        elif case % 4 == 1:
            del data[place : place + int(rng.integers(1, 64))]
        elif case % 4 == 2:
            data[place : place + 8] = rng.bytes(8)
        else:
            del data[place:]
        (folder / name).write_bytes(data)
        try:
            read_diffusers(folder)
        except ValueError as error:
            refused += 1
            assert "\n" not in str(error) and str(folder) in str(error)
    assert refused > 100
