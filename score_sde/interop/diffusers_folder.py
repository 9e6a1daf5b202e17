"""Folders of diffusers' ``UNet2DModel``, alone or in a pipeline: what they say of the network, and its tensors."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from score_sde.interop.bounds import read_json
from score_sde.interop.torch_file import read_torch

CONFIG, WEIGHTS = "config.json", ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")

SIGMA_MAX = {32: 50.0, 64: 90.0, 256: 348.0, 1024: 1348.0}
"""The greatest noise level of the published NCSN++ by the size of their images, where there is no scheduler to ask."""

COMMON: Mapping[str, tuple[Any, ...]] = {
    "act_fn": ("silu", "swish"),
    "add_attention": (True,),
    "attention_head_dim": (None,),
    "attn_norm_num_groups": (None,),
    "class_embed_type": (None,),
    "downsample_type": ("conv",),
    "mid_block_type": ("UNetMidBlock2D",),
    "norm_eps": (1e-6,),
    "num_class_embeds": (None,),
    "resnet_time_scale_shift": ("default",),
    "time_embedding_dim": (None,),
    "upsample_type": ("conv",),
}
"""What both kinds of network need an option to be; one that is left out is as it should be, but for ``NEEDED``."""

NEEDED = {"attention_head_dim": 8, "norm_eps": 1e-5}
"""Options whose default in diffusers is none that the networks here can be."""

KINDS: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "ddpm": {
        "center_input_sample": (False,),
        "downsample_padding": (0,),
        "flip_sin_to_cos": (False,),
        "freq_shift": (1,),
        "mid_block_scale_factor": (1, 1.0),
        "norm_num_groups": (32,),
        "time_embedding_type": ("positional",),
    },
    "ncsnpp": {
        "center_input_sample": (True,),
        "mid_block_scale_factor": (1.41421356237, 2**0.5),
        "norm_num_groups": (None,),
        "time_embedding_type": ("fourier",),
    },
}
BLOCKS = {"ddpm": ("DownBlock2D", "UpBlock2D"), "ncsnpp": ("SkipDownBlock2D", "SkipUpBlock2D")}
"""The blocks of each kind; with ``Attn`` before it, a block has attention."""


class Diffusers(NamedTuple):
    """What a folder holds.

    Attributes:
        fields: the network, the SDE and the data as fields of a published config, for `config_from_reference`.
        options: options of the network that no published config has.
        tensors: the weights by their names there.
    """

    fields: dict[str, Any]
    options: dict[str, Any]
    tensors: dict[str, np.ndarray]


def is_diffusers(folder: str | Path) -> bool:
    """Whether a folder is of diffusers: a model, or a pipeline that has one."""
    return _model_folder(Path(folder)) is not None


def read_diffusers(folder: str | Path) -> Diffusers:
    """Read a folder of diffusers: DDPM (``DownBlock2D``) or NCSN++ (``SkipDownBlock2D``). Nothing in it is run.

    Raises:
        OSError: where a file is missing.
        ValueError: in one line, where a file is damaged, or the network has an option that those here have not.
    """
    path = Path(folder)
    model = _model_folder(path)
    if model is None:
        raise ValueError(f"{path} is no folder of diffusers: it needs {CONFIG} of a UNet2DModel, or model_index.json")
    config, scheduler = _read_json(model / CONFIG), _scheduler(path)
    try:
        if config.get("_class_name", "UNet2DModel") != "UNet2DModel":
            raise ValueError(f"it is of the class {config['_class_name']!r:.100}, only UNet2DModel is read")
        kind = "ncsnpp" if config.get("time_embedding_type") == "fourier" else "ddpm"
        _check_options(config, {**COMMON, **KINDS[kind]})
        fields = _network_fields(config, kind) | (_vp if kind == "ddpm" else _ve)(config, scheduler)
    except KeyError as error:
        raise ValueError(f"{model / CONFIG} lacks {error}") from None
    except (TypeError, AttributeError, IndexError, ZeroDivisionError) as error:
        raise ValueError(f"{model / CONFIG} is damaged ({type(error).__name__})") from error
    except ValueError as error:
        raise ValueError(f"{model / CONFIG}: {error}") from None
    options = {"attend_every_block": True} if kind == "ddpm" else {"diffusers_groups": True}
    return Diffusers(fields, options, _read_weights(model))


def _model_folder(path: Path) -> Path | None:
    if (path / "model_index.json").is_file() and (path / "unet" / CONFIG).is_file():
        return path / "unet"
    return path if (path / CONFIG).is_file() and _is_model(path) else None


def _is_model(folder: Path) -> bool:
    """Whether the options or the weights are those of diffusers: others have a file of the options' name too."""
    return any((folder / name).is_file() for name in WEIGHTS) or b'"_class_name"' in (folder / CONFIG).read_bytes()


def _scheduler(path: Path) -> dict[str, Any]:
    file = path / "scheduler" / "scheduler_config.json"
    return _read_json(file) if file.is_file() else {}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
    except ValueError:
        raise ValueError(f"{path} is damaged: it is no JSON") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged: it holds no options")
    return found


def _check_options(config: Mapping[str, Any], wanted: Mapping[str, tuple[Any, ...]]) -> None:
    for name, values in wanted.items():
        found = config.get(name, NEEDED.get(name, values[0]))
        if not any(found == value and isinstance(found, bool) == isinstance(value, bool) for value in values):
            raise ValueError(f"{name}={found!r:.100} is none that can be read, only {values[0]!r}")


def _network_fields(config: Mapping[str, Any], kind: str) -> dict[str, Any]:
    channels, size = [_whole(c) for c in config["block_out_channels"]], _whole(config["sample_size"])
    down, up = BLOCKS[kind]
    attended = [_attended(name, down) for name in config["down_block_types"]]
    mirrored = [_attended(name, up) for name in config["up_block_types"]][::-1]
    if attended != mirrored or len(attended) != len(channels):
        raise ValueError("the up blocks do not mirror the down blocks, or there are not as many as block_out_channels")
    if any(c % channels[0] for c in channels):
        raise ValueError(f"block_out_channels must be multiples of the first, got {channels!r:.100}")
    if config["in_channels"] != config["out_channels"]:
        raise ValueError("in_channels and out_channels differ: the networks here give back an image of the same shape")
    fields = {
        "name": kind,
        "nf": channels[0],
        "ch_mult": tuple(c // channels[0] for c in channels),
        "num_res_blocks": _whole(config["layers_per_block"]),
        "attn_resolutions": tuple(size // 2**level for level, there in enumerate(attended) if there),
        "dropout": config.get("dropout", 0.0),
    }
    pyramids = {"progressive": "output_skip", "progressive_input": "input_skip", "scale_by_sigma": True}
    fields |= pyramids if kind == "ncsnpp" else {}
    data = {
        "data.image_size": size,
        "data.num_channels": _whole(config["in_channels"]),
        "data.centered": kind == "ddpm",
    }
    return {**{f"model.{name}": value for name, value in fields.items()}, **data}


def _attended(name: str, block: str) -> bool:
    if name not in (block, f"Attn{block}"):
        raise ValueError(f"the networks here have no block {name!r:.100}, only {block} and Attn{block}")
    return name != block


def _vp(config: Mapping[str, Any], scheduler: Mapping[str, Any]) -> dict[str, Any]:
    """The discrete VP model of DDPM; the betas of the SDE are those of the table times its length."""
    _check_options(scheduler, {"beta_schedule": ("linear",), "trained_betas": (None,), "prediction_type": ("epsilon",)})
    steps = _whole(scheduler.get("num_train_timesteps", 1000))
    return {
        "training.sde": "vpsde",
        "training.continuous": False,
        "model.num_scales": steps,
        "model.beta_min": float(scheduler.get("beta_start", 1e-4)) * steps,
        "model.beta_max": float(scheduler.get("beta_end", 0.02)) * steps,
        "sampling.predictor": "ancestral_sampling",
        "sampling.corrector": "none",
    }


def _ve(config: Mapping[str, Any], scheduler: Mapping[str, Any]) -> dict[str, Any]:
    """The continuous VE model of NCSN++."""
    nearest = min(SIGMA_MAX, key=lambda size: abs(size - config["sample_size"]))
    return {
        "training.sde": "vesde",
        "training.continuous": True,
        "model.num_scales": _whole(scheduler.get("num_train_timesteps", 2000)),
        "model.sigma_min": float(scheduler.get("sigma_min", 0.01)),
        "model.sigma_max": float(scheduler.get("sigma_max", SIGMA_MAX[nearest])),
        "sampling.predictor": "reverse_diffusion",
        "sampling.corrector": "langevin",
        "sampling.snr": float(scheduler.get("snr", 0.15)),
    }


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"a whole number of 1 or more is needed where there is {value!r:.100}")
    return value


def _read_weights(folder: Path) -> dict[str, np.ndarray]:
    path = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        raise FileNotFoundError(f"no {' or '.join(WEIGHTS)} in {folder}")
    if path.suffix == ".safetensors":
        try:
            return load(path.read_bytes())
        except (SafetensorError, ValueError, KeyError) as error:
            raise ValueError(f"{path} is damaged: {' '.join(str(error).split())}") from None
    tensors = read_torch(path)
    if not isinstance(tensors, Mapping) or not all(isinstance(value, np.ndarray) for value in tensors.values()):
        raise ValueError(f"{path} is no file of weights: it needs a dictionary of tensors")
    return {str(name): value for name, value in tensors.items()}
