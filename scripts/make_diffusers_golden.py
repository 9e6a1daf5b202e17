"""Golden files of diffusers: tiny networks, and samples of its schedulers from given
latents and noise.

    python -m venv peers && peers/bin/pip install diffusers safetensors torch
    peers/bin/python scripts/make_diffusers_golden.py       writes
    tests/golden/diffusers_unets

diffusers and torch are no dependencies of the project: give them an environment of
their own. Networks have random weights, all different from their initial values, in
three formats: whole, half precision, and shards of bfloat16.
"""

import json
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

try:
    import diffusers  # pyright: ignore[reportMissingImports]
    import torch  # pyright: ignore[reportMissingImports]
    from diffusers.schedulers import scheduling_ddpm  # pyright: ignore[reportMissingImports]
except ImportError as missing:
    raise SystemExit(
        f"{missing.name} is not installed: pip install diffusers safetensors torch"
    ) from None

FOLDER = Path(__file__).parent.parent / "tests" / "golden" / "diffusers_unets"
SIZE, BATCH, STEPS = 8, 2, 10

SMALL: dict[str, Any] = {
    "sample_size": SIZE,
    "in_channels": 1,
    "out_channels": 1,
    "layers_per_block": 1,
    "block_out_channels": (8, 16),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "norm_num_groups": 4,
}
NETWORKS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "options": {
        "attention_head_dim": 4,
        "add_attention": False,
        "center_input_sample": True,
        "downsample_padding": 0,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "norm_eps": 1e-2,
        "norm_num_groups": 2,
    },
    "classes": {
        "num_class_embeds": 3,
        "attention_head_dim": None,
        "freq_shift": 2,
        "layers_per_block": 2,
    },
}
FORMATS: dict[str, dict[str, Any]] = {
    "defaults": {"dtype": torch.float32},
    "options": {"dtype": torch.float16, "variant": "fp16"},
    "classes": {"dtype": torch.bfloat16, "max_shard_size": "40KB"},
}

DDIM, DDPM = "DDIMScheduler", "DDPMScheduler"
SAMPLES: dict[str, tuple[str, dict[str, Any], float]] = {
    "ddim_defaults": (DDIM, {}, 0.0),
    "ddim_trailing": (DDIM, {"timestep_spacing": "trailing", "clip_sample": False}, 0.0),
    "ddim_scaled_linear": (
        DDIM,
        {
            "beta_schedule": "scaled_linear",
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "clip_sample_range": 2.0,
        },
        0.0,
    ),
    "ddim_cosine_of_images": (
        DDIM,
        {
            "beta_schedule": "squaredcos_cap_v2",
            "prediction_type": "sample",
            "set_alpha_to_one": False,
            "steps_offset": 1,
            "num_train_timesteps": 500,
        },
        0.0,
    ),
    "ddim_zero_snr": (
        DDIM,
        {
            "rescale_betas_zero_snr": True,
            "prediction_type": "v_prediction",
            "timestep_spacing": "trailing",
            "clip_sample": False,
        },
        0.0,
    ),
    "ddim_noisy": (DDIM, {"clip_sample": False, "prediction_type": "v_prediction"}, 0.7),
    "ddpm_defaults": (DDPM, {}, 0.0),
    "ddpm_large_cosine": (
        DDPM,
        {
            "variance_type": "fixed_large",
            "beta_schedule": "squaredcos_cap_v2",
            "prediction_type": "v_prediction",
        },
        0.0,
    ),
    "ddpm_linspace_sigmoid": (
        DDPM,
        {"timestep_spacing": "linspace", "beta_schedule": "sigmoid", "clip_sample": False},
        0.0,
    ),
    "ddpm_zero_snr": (
        DDPM,
        {
            "rescale_betas_zero_snr": True,
            "prediction_type": "sample",
            "timestep_spacing": "trailing",
        },
        0.0,
    ),
    "ddpm_trained_betas": (
        DDPM,
        {
            "trained_betas": [0.001 * 1.1**i for i in range(60)],
            "num_train_timesteps": 60,
            "prediction_type": "sample",
        },
        0.0,
    ),
}
"""The scheduler, its options, and ``eta``."""


def make_network(name: str, seed: int) -> Any:
    """Write a network of random weights to its folder, with inputs and outputs; return the
    rounded weights.
    """
    torch.manual_seed(seed)
    kind = FORMATS[name]
    model = diffusers.UNet2DModel(**{**SMALL, **NETWORKS[name]}).eval()
    for parameter in model.parameters():
        wide = parameter.ndim > 1
        scale = parameter[0].numel() ** -0.5 if wide else 0.3
        parameter.data = torch.randn_like(parameter) * scale + (0.0 if wide else 0.5)
    model = model.to(kind["dtype"])
    model.save_pretrained(
        FOLDER / name, **{key: value for key, value in kind.items() if key != "dtype"}
    )
    model = model.float()
    x, t = torch.randn(3, 1, SIZE, SIZE), torch.tensor([0, 37, 999])
    labels = torch.tensor([2, 0, 1]) if NETWORKS[name].get("num_class_embeds") else None
    with torch.no_grad():
        y = model(x, t, class_labels=labels).sample
    arrays = {"x": x, "t": t, "y": y} | ({} if labels is None else {"labels": labels})
    np.savez(FOLDER / name / "io.npz", **arrays)
    return model


def draw(
    model: Any, latent: Any, noise: Any, name: str, options: dict[str, Any], eta: float
) -> Any:
    """The sample of a scheduler."""
    scheduler = getattr(diffusers, name)(**options)
    scheduler.set_timesteps(STEPS)
    x = latent
    for step, t in enumerate(scheduler.timesteps):
        with (
            torch.no_grad(),
            mock.patch.object(scheduling_ddpm, "randn_tensor", lambda *_, i=step, **__: noise[i]),
        ):
            more = {"eta": eta, "variance_noise": noise[step]} if name == DDIM and eta else {}
            x = scheduler.step(model(x, t).sample, t, x, **more).prev_sample
    return x


def main() -> None:
    """Write all files."""
    models = {name: make_network(name, seed) for seed, name in enumerate(NETWORKS)}
    rng = np.random.default_rng(0)
    shape = (BATCH, 1, SIZE, SIZE)
    latent, noise = (rng.normal(size=size).astype(np.float32) for size in (shape, (STEPS, *shape)))
    arrays: dict[str, Any] = {"latent": latent, "noise": noise}
    cases: dict[str, Any] = {}
    for name, (scheduler, options, eta) in SAMPLES.items():
        tensors = torch.from_numpy(latent), torch.from_numpy(noise)
        arrays[name] = draw(
            models["defaults"], tensors[0], tensors[1], scheduler, options, eta
        ).numpy()
        cases[name] = {
            "scheduler": {"_class_name": scheduler, **options},
            "eta": eta,
            "num_steps": STEPS,
        }
    np.savez(FOLDER / "samples.npz", **arrays)
    facts = {
        "versions": {"diffusers": diffusers.__version__, "torch": torch.__version__},
        "cases": cases,
    }
    (FOLDER / "samples.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
