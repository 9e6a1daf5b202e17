"""Folders of diffusers' UNet2DModel: the same outputs; other options and damage are errors
of one line.
"""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from damaged_files import num_refused
from safetensors.numpy import load_file, save_file

from score_sde.experiments.construction import construct
from score_sde.experiments.loading import load, saved_config
from score_sde.interop.diffusers_folder import is_diffusers, read_diffusers
from score_sde.interop.diffusers_scheduler import vp_sections
from score_sde.sampling import DiscreteDDIM, DiscreteDDPM, DiscreteSampler
from score_sde.sdes import DiscreteVPSDE, ddpm_marginals
from score_sde.solvers import marginals_at

GOLDEN = Path(__file__).parents[1] / "golden"
KINDS = ["ddpm", "ncsnpp"]
SCHEDULER = "scheduler_config.json"
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
def test_the_network_agrees_with_diffusers(kind):
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
    jax.tree.map(
        np.testing.assert_array_equal,
        load(folder).params,
        load(GOLDEN / f"diffusers_{kind}").params,
    )


def pipeline_of(kind, folder):
    """A pipeline without a scheduler, and the file that one would be in."""
    pipeline = folder / f"pipeline_{kind}"
    (pipeline / "scheduler").mkdir(parents=True)
    (pipeline / "model_index.json").write_text("{}")
    copy(kind, pipeline).rename(pipeline / "unet")
    return pipeline, pipeline / "scheduler" / SCHEDULER


def test_the_sde_has_the_noise_levels_of_the_scheduler_of_ncsnpp(tmp_path):
    pipeline, file = pipeline_of("ncsnpp", tmp_path)
    with pytest.warns(
        UserWarning, match="has no scheduler_config.json, so the noise process is assumed: VE"
    ):
        assert saved_config(pipeline).sde.sigma_max == 50.0
    scheduler = {
        "sigma_min": 0.02,
        "sigma_max": 90.0,
        "num_train_timesteps": 500,
        "snr": 0.2,
        "correct_steps": 2,
    }
    file.write_text(json.dumps(scheduler))
    config = saved_config(pipeline)
    assert (config.sde.sigma_min, config.sde.sigma_max) == (0.02, 90.0)
    assert (config.sampling.num_steps, config.sampling.snr, config.sampling.corrector_steps) == (
        500,
        0.2,
        2,
    )
    assert not config.data.centered and config.model.rescale_input
    file.write_text("{}")
    assert saved_config(pipeline).sde.sigma_max == 1348.0  # the default of the scheduler


def test_the_sde_has_the_table_of_the_scheduler_of_ddpm(tmp_path):
    pipeline, file = pipeline_of("ddpm", tmp_path)
    with pytest.warns(UserWarning, match="is assumed: DDPM's 1,000 linear betas from 1e-4 to 0.02"):
        assert saved_config(pipeline).sampling.to_dict() == {
            "name": "discrete_ddpm", "num_steps": 1000, "variance": "fixed_small",
            "spacing": "leading",
            "steps_offset": 0, "clip": 1.0, "denoise": True,
        }  # fmt: skip
    scheduler = {
        "beta_start": 2e-4,
        "beta_end": 0.04,
        "num_train_timesteps": 500,
        "variance_type": "fixed_large",
    }
    file.write_text(json.dumps(scheduler))
    model = load(pipeline)
    assert model.config["parameterization"] == {
        "name": "noise", "time_label": {"name": "step_index", "num_scales": 500}
    }  # fmt: skip
    assert model.sampler == DiscreteDDPM(
        num_steps=500, variance="fixed_large", spacing="leading", clip=1.0
    )
    levels = marginals_at(model.sde, model.sde.step_times())
    np.testing.assert_allclose(
        levels.alpha, ddpm_marginals(500, beta_min=0.1, beta_max=20.0).alpha, rtol=1e-12
    )
    assert model.sde.t_min == model.evaluating.t_min == 1 / 500


@pytest.mark.parametrize(("scheduler", "sde", "sampler"), [
    ({"timesteps": 500}, {"num_scales": 500}, DiscreteDDPM(num_steps=500, spacing="leading",
    clip=1.0)),
    ({"clip_sample_range": 2, "steps_offset": 1}, {},
     DiscreteDDPM(num_steps=999, spacing="leading", steps_offset=1, clip=2.0)),
    ({"_class_name": "DDIMScheduler", "clip_sample": False, "timestep_spacing": "trailing"}, {},
    DiscreteDDIM()),
    ({"_class_name": "DDIMScheduler", "num_train_timesteps": 20, "set_alpha_to_one": False},
    {"num_scales": 20},
     DiscreteDDIM(num_steps=20, spacing="leading", clip=1.0, final="t_min")),
    ({"_class_name": "PNDMScheduler", "skip_prk_steps": True, "steps_offset": 1}, {},
    DiscreteDDIM()),
    ({"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "dpmsolver++",
    "use_flow_sigmas": False,
      "beta_schedule": "squaredcos_cap_v2"}, {"schedule": "cosine"}, DiscreteDDIM()),
    ({"skip_prk_steps": True, "set_alpha_to_one": False, "solver_order": 2}, {},
     DiscreteDDPM(spacing="leading", clip=1.0)),
    ({"_class_name": "HeunDiscreteScheduler"}, {"beta_start": 0.00085, "beta_end": 0.012},
    DiscreteDDIM()),
    ({"trained_betas": [0.1, 0.2, 0.3], "num_train_timesteps": 3},
     {"num_scales": 3, "betas": (0.1, 0.2, 0.3)}, DiscreteDDPM(num_steps=3, spacing="leading",
     clip=1.0)),
    ({"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
    {"zero_terminal_snr": True, "t_max": 0.999},
     DiscreteDDPM(spacing="leading", clip=1.0)),
])  # fmt: skip
def test_options_of_a_scheduler_are_used(scheduler, sde, sampler, tmp_path):
    """Beside the weights; of schedulers whose own sampler is not here, the process alone."""
    sections = vp_sections(scheduler)
    levels = sde.get("num_scales", 1000)
    assert construct("sde", DiscreteVPSDE, sections["sde"]) == DiscreteVPSDE(
        **{"t_min": 1 / levels, **sde}
    )
    assert (
        construct(
            "sampling",
            DiscreteSampler,
            {k: v for k, v in sections["sampling"].items() if k != "denoise"},
        )
        == sampler
    )
    assert sections["sampling"]["denoise"] is sampler.ends_at_data


@pytest.mark.parametrize(("kind", "scheduler", "message"), [
    ("ddpm", {"_class_name": "FlowMatchEulerDiscreteScheduler"},
    "_class_name='FlowMatchEulerDiscreteScheduler' must be one of DDPMScheduler, .*, or Score"),
    ("ddpm", {"_class_name": "EDMEulerScheduler"}, "'EDMEulerScheduler' must be one of"),
    ("ddpm", {"_class_name": "ScoreSdeVeScheduler"}, "or ScoreSdeVeScheduler with a network that "
"has a Fourier embedding"),
    ("ncsnpp", {"_class_name": "DDPMScheduler"}, "_class_name='DDPMScheduler' must be "
"ScoreSdeVeScheduler, the scheduler of networks with a Fourier embedding"),
    ("ncsnpp", {"sampling_eps": 1e-3}, "sampling_eps=0.001 must be 1e-05, no other"),
    ("ncsnpp", {"beta_start": 1e-4}, "beta_start=0.0001 is an unknown option"),
    ("ddpm", {"num_train_timestep": 500}, "num_train_timestep=500 is an unknown option of this "
"scheduler"),
    ("ddpm", {"timesteps": 500, "num_train_timesteps": 1000}, "=1000 and timesteps=500, its old "
"name, differ"),
    ("ddpm", {"num_train_timesteps": 10**9}, "=1000000000 must be a whole number from 2 to "
"100000"),
    ("ddpm", {"num_train_timesteps": True}, "=True must be a whole number from 2 to 100000"),
    ("ddpm", {"num_train_timesteps": 1}, "num_train_timesteps=1 must be a whole number from 2"),
    ("ddpm", {"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr=True needs prediction_type "
"'v_prediction'"),
    ("ddpm", {"variance_type": "learned_range"}, "variance_type='learned_range' must be one of "
"fixed_small"),
    ("ddpm", {"_class_name": "DPMSolverMultistepScheduler", "variance_type": "learned"},
    "that predict a variance"),
    ("ddpm", {"beta_schedule": "laplace"}, "beta_schedule='laplace' must be one of linear"),
    ("ddpm", {"beta_start": None}, "beta_start=None must be a finite number"),
    ("ddpm", {"beta_end": 1.5}, "beta_end=1.5 must be less than 1"),
    ("ddpm", {"prediction_type": "flow_prediction"}, "prediction_type='flow_prediction' must be "
"one of epsilon, v_prediction, sample"),
    ("ddpm", {"thresholding": True}, "thresholding=True must be False, no other value is"),
    ("ddpm", {"clip_sample": 1}, "clip_sample=1 must be True or False"),
    ("ddpm", {"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True}, "use_flow_sigmas="
"True must be False"),
    ("ddpm", {"trained_betas": [0.1, 2.0]}, "trained_betas must be a list of numbers between 0 and "
"1"),
    ("ddpm", {"trained_betas": [0.1, 0.2]}, "trained_betas has 2 numbers where "
"num_train_timesteps=1000"),
    ("ddpm", {"_class_name": ["DDPMScheduler"]}, "must be one of DDPMScheduler"),
])  # fmt: skip
def test_other_processes_and_unknown_options_are_errors_of_one_line(
    kind, scheduler, message, tmp_path
):
    """All of these were read as DDPM's linear betas, or as the published VE."""
    folder = copy(kind, tmp_path)
    (folder / SCHEDULER).write_text(json.dumps(scheduler))
    with pytest.raises(ValueError, match=message) as refusal:
        load(folder)
    assert "\n" not in str(refusal.value) and str(folder) in str(refusal.value)


def test_a_given_config_replaces_the_scheduler(tmp_path):
    folder = copy("ddpm", tmp_path)
    config = saved_config(folder)
    config.sampling.num_steps = 7
    (folder / SCHEDULER).write_text(json.dumps({"_class_name": "FlowMatchEulerDiscreteScheduler"}))
    assert load(folder, config=config).sampler.num_steps == 7


def test_folders_of_diffusers_are_recognised(tmp_path):
    assert is_diffusers(GOLDEN / "diffusers_ddpm") and not is_diffusers(tmp_path)
    copy("ddpm", tmp_path).rename(tmp_path / "unet")
    assert not is_diffusers(tmp_path)
    (tmp_path / "model_index.json").write_text("{}")
    assert is_diffusers(tmp_path)
    with pytest.raises(ValueError, match="is no folder of diffusers"):
        read_diffusers(tmp_path / "none")


def test_a_folder_of_another_program_is_not_recognised(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model": {"name": "mlp"}}))
    assert not is_diffusers(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "UNet2DModel"}))
    assert is_diffusers(tmp_path)


@pytest.mark.parametrize(("kind", "options", "message"), [
    ("ddpm", {"downsample_padding": 2}, "downsample_padding=2 must be 1 or 0"),
    ("ddpm", {"layers_per_block": 10**6}, "=1000000 must be a whole number from 1 to"),
    ("ddpm", {"layers_per_block": 10**4}, r"layers_per_block=10000 makes 20000 layers of \d+ "
r"tensors"),
    ("ddpm", {"block_out_channels": [32] * 500, "down_block_types": ["DownBlock2D"] * 500,
              "up_block_types": ["UpBlock2D"] * 500}, r"makes 500 layers of \d+ tensors"),
    ("ddpm", {"encoder_hid_dim": 3}, "encoder_hid_dim=3 is an unknown option of UNet2DModel"),
    ("ddpm", {"out_channels": 6}, "without a learned variance"),
    ("ddpm", {"time_embedding_dim": 64}, "time_embedding_dim=64 must be None or 128"),
    ("ddpm", {"norm_num_groups": 3}, "nf=32 must be a multiple of 3, "),
    ("ddpm", {"attention_head_dim": 24}, "attention_head_dim=24 must be a divisor of the 64 "
"channels with attention"),
    ("ddpm", {"freq_shift": 16}, "freq_shift=16.0 must be less than 16, half of nf"),
    ("ddpm", {"num_class_embeds": 3}, "the weights lack class_embedding.weight"),
    ("ddpm", {"resnet_time_scale_shift": "scale_shift"}, "='scale_shift' must be 'default'"),
    ("ddpm", {"class_embed_type": "timestep"}, "class_embed_type='timestep' must be None"),
    ("ddpm", {"down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"]}, "the block "
"'CrossAttnDownBlock2D' must be DownBlock2D or AttnDownBlock2D"),
    ("ddpm", {"up_block_types": ["UpBlock2D", "AttnUpBlock2D"]}, "do not mirror"),
    ("ddpm", {"block_out_channels": [32, 48]}, "must be multiples of the first"),
    ("ddpm", {"block_out_channels": [64, 64]}, "has the shape"),
    ("ddpm", {"layers_per_block": 2}, "the weights lack down_blocks.0.resnets.1."),
    ("ddpm", {"sample_size": None}, "sample_size=None must be a whole number from 1 to"),
    ("ddpm", {"_class_name": "UNet2DConditionModel"}, "'UNet2DConditionModel' must be "
"'UNet2DModel'"),
    ("ncsnpp", {"center_input_sample": False}, "center_input_sample=False must be True"),
    ("ncsnpp", {"norm_num_groups": 32}, "norm_num_groups=32 must be None"),
])  # fmt: skip
def test_other_options_are_errors_of_one_line(kind, options, message, tmp_path):
    folder = copy(kind, tmp_path)
    change(folder, **options)
    with pytest.raises(ValueError, match=message) as refusal:
        load(folder)
    assert "\n" not in str(refusal.value) and str(folder) in str(refusal.value)


def test_weights_that_do_not_fit_are_named(tmp_path):
    folder = copy("ddpm", tmp_path)
    name = "mid_block.attentions.0.to_q.weight"
    for to, message in [
        (
            lambda n, v: (n.replace(name, "odd"), v),
            f"the weights lack {name}, for middle_attention/query/kernel",
        ),
        (
            lambda n, v: (n, v[:3] if n == name else v),
            rf"{name} has the shape \(3, 64\), the network needs \(64, 64\)",
        ),
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
def test_damaged_files_are_read_or_are_errors_of_one_line(name, tmp_path):
    """The options, and the header of the weights."""
    folder = copy("ncsnpp", tmp_path)
    read = lambda: read_diffusers(folder)  # noqa: E731
    assert num_refused(folder / name, read, count=200, reaches=(4000,), name=str(folder)) > 100
