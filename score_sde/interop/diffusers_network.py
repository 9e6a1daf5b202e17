"""Diffusers' ``UNet2DModel`` as a network of this package: its options and its parameters.

Every key of its config is used, known to be idle, or refused.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from score_sde.models.base import ScoreNetwork
from score_sde.typing import Params

Options = Mapping[str, Any]
Fields = dict[str, Any]

DEFAULTS: Options = {
    "act_fn": "silu",
    "add_attention": True,
    "attention_head_dim": 8,
    "attn_norm_num_groups": None,
    "center_input_sample": False,
    "class_embed_type": None,
    "downsample_padding": 1,
    "downsample_type": "conv",
    "dropout": 0.0,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 3,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "mid_block_type": "UNetMidBlock2D",
    "norm_eps": 1e-5,
    "norm_num_groups": 32,
    "num_class_embeds": None,
    "out_channels": 3,
    "resnet_time_scale_shift": "default",
    "sample_size": None,
    "time_embedding_dim": None,
    "time_embedding_type": "positional",
    "upsample_type": "conv",
    "block_out_channels": [224, 448, 672, 896],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
}
"""The defaults of ``UNet2DModel``, for options that a config does not have."""

IDLE = {
    # of the file
    *("_class_name", "_diffusers_version", "_name_or_path", "_use_default_values", "torch_dtype"),
    # of a learned time embedding alone
    "num_train_timesteps",
    # of the average of parameters
    *(
        "decay",
        "inv_gamma",
        "min_decay",
        "optimization_step",
        "power",
        "update_after_step",
        "use_ema_warmup",
    ),
}
"""Keys that do not change what the network computes."""

COMMON: Mapping[str, tuple[Any, ...]] = {
    "act_fn": ("silu", "swish"),
    "attn_norm_num_groups": (None,),
    "class_embed_type": (None,),
    "downsample_type": ("conv",),
    "mid_block_type": ("UNetMidBlock2D",),
    "resnet_time_scale_shift": ("default",),
    "upsample_type": ("conv",),
}
"""The values of options that both kinds of network here support."""

KINDS: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "ddpm": {"mid_block_scale_factor": (1, 1.0), "time_embedding_type": ("positional",)},
    "ncsnpp": {
        "add_attention": (True,),
        "attention_head_dim": (None,),
        "center_input_sample": (True,),
        "mid_block_scale_factor": (1.41421356237, 2**0.5),
        "norm_eps": (1e-6,),
        "norm_num_groups": (None,),
        "num_class_embeds": (None,),
        "time_embedding_type": ("fourier",),
    },
}
BLOCKS = {"ddpm": ("DownBlock2D", "UpBlock2D"), "ncsnpp": ("SkipDownBlock2D", "SkipUpBlock2D")}
"""The blocks of each kind; with ``Attn`` before it, a block has attention."""

MAX_SIZE = 2**16
"""The most that a number of channels, pixels, layers or classes may be."""


class Network(NamedTuple):
    """A network.

    Attributes:
        kind: ``ddpm`` or ``ncsnpp``.
        fields: the network and the data as fields of a published config.
        options: options of the network that no published config has.
    """

    kind: str
    fields: Fields
    options: dict[str, Any]


def read_network(config: Options, num_tensors: int) -> Network:
    """The network of a config whose weights are ``num_tensors`` tensors.

    Raises:
        ValueError: in one line, for an option that is unknown, or that no network here
            has.
    """
    if config.get("_class_name", "UNet2DModel") != "UNet2DModel":
        raise ValueError(
            f"it is of the class {config['_class_name']!r:.100}, only UNet2DModel is read"
        )
    if unknown := sorted(str(name) for name in config.keys() - DEFAULTS.keys() - IDLE):
        raise ValueError(
            f"{unknown[0]}={config[unknown[0]]!r:.100} is an unknown option of UNet2DModel"
        )
    config = {**DEFAULTS, **{name: value for name, value in config.items() if name in DEFAULTS}}
    kind = "ncsnpp" if config["time_embedding_type"] == "fourier" else "ddpm"
    for name, values in {**COMMON, **KINDS[kind]}.items():
        if not any(
            config[name] == value and isinstance(config[name], bool) == isinstance(value, bool)
            for value in values
        ):
            raise ValueError(
                f"{name}={config[name]!r:.100} is none that can be read, only {values[0]!r:.100}"
            )
    fields = _fields(config, kind)
    # Each layer has more than ten tensors: refuse a network that would take for ever to
    # build.
    if (layers := fields["model.num_res_blocks"] * len(fields["model.ch_mult"])) > num_tensors:
        raise ValueError(
            f"layers_per_block={config['layers_per_block']} makes {layers} layers of {num_tensors} "
            "tensors"
        )
    options = _ddpm_options(config) if kind == "ddpm" else {"diffusers_groups": True}
    return Network(kind, fields, options)


def whole(name: str, value: Any) -> int:
    """A size from a config; raises ``ValueError`` where it is not a whole number in range."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_SIZE:
        raise ValueError(f"{name} must be a whole number from 1 to {MAX_SIZE}, got {value!r:.100}")
    return value


def _fields(config: Options, kind: str) -> Fields:
    channels = [whole("block_out_channels", c) for c in config["block_out_channels"]]
    size = config["sample_size"]
    if isinstance(size, list) and len(size) == 2 and size[0] == size[1]:
        size = size[0]
    size = whole("sample_size", size)
    down, up = BLOCKS[kind]
    attended = [_attended(name, down) for name in config["down_block_types"]]
    mirrored = [_attended(name, up) for name in config["up_block_types"]][::-1]
    if attended != mirrored or len(attended) != len(channels):
        raise ValueError(
            "the up blocks do not mirror the down blocks, or there are not as many as "
            "block_out_channels"
        )
    if any(c % channels[0] for c in channels):
        raise ValueError(f"block_out_channels must be multiples of the first, got {channels}")
    if config["time_embedding_dim"] not in (None, 4 * channels[0]):
        raise ValueError(
            f"time_embedding_dim={config['time_embedding_dim']!r:.50} is none that can be read, "
            "only None"
        )
    if config["in_channels"] != config["out_channels"]:
        raise ValueError(
            "in_channels and out_channels differ: the networks here give back an image of the same "
            "shape, without a "
            "learned variance or other input beside it"
        )
    fields = {
        "name": kind,
        "nf": channels[0],
        "ch_mult": tuple(c // channels[0] for c in channels),
        "num_res_blocks": whole("layers_per_block", config["layers_per_block"]),
        "attn_resolutions": tuple(
            size // 2**level for level, there in enumerate(attended) if there
        ),
        "dropout": config["dropout"],
    }
    pyramids = {
        "progressive": "output_skip",
        "progressive_input": "input_skip",
        "scale_by_sigma": True,
    }
    fields |= pyramids if kind == "ncsnpp" else {}
    data = {
        "data.image_size": size,
        "data.num_channels": whole("in_channels", config["in_channels"]),
        "data.centered": kind == "ddpm",
    }
    return {**{f"model.{name}": value for name, value in fields.items()}, **data}


def _attended(name: Any, block: str) -> bool:
    if name not in (block, f"Attn{block}"):
        raise ValueError(
            f"the networks here have no block {name!r:.100}, only {block} and Attn{block}"
        )
    return name != block


def _ddpm_options(config: Options) -> dict[str, Any]:
    """The options of DDPM that its published configs do not have."""
    padding = config["downsample_padding"]
    if padding not in (0, 1) or isinstance(padding, bool):
        raise ValueError(
            f"downsample_padding={padding!r:.100} is none that can be read, only 0 and 1"
        )
    for name in ("add_attention", "center_input_sample", "flip_sin_to_cos"):
        if not isinstance(config[name], bool):
            raise ValueError(f"{name} must be true or false, got {config[name]!r:.100}")
    for name in ("freq_shift", "norm_eps"):
        if isinstance(config[name], bool) or not isinstance(config[name], int | float):
            raise ValueError(f"{name} must be a number, got {config[name]!r:.100}")
    heads, classes = config["attention_head_dim"], config["num_class_embeds"]
    return {
        "attend_every_block": True,
        "attend_in_middle": config["add_attention"],
        "attention_head_dim": None if heads is None else whole("attention_head_dim", heads),
        "num_groups": whole("norm_num_groups", config["norm_num_groups"]),
        "norm_eps": float(config["norm_eps"]),
        "pad_both_sides": padding == 1,
        "freq_shift": float(config["freq_shift"]),
        "cosine_first": config["flip_sin_to_cos"],
        "rescale_input": config["center_input_sample"],
        "num_classes": None if classes is None else whole("num_class_embeds", classes),
        "label_required": classes is not None,
    }


PARTS = (
    (r"time_(\d)", lambda m, up: f"time_embedding.linear_{int(m[1]) + 1}"),
    (r"label", lambda m, up: "class_embedding"),
    (r"fourier", lambda m, up: "time_proj"),
    (r"norm_out|output_0_norm", lambda m, up: "conv_norm_out"),
    (r"conv_out|output_0", lambda m, up: "conv_out"),
    (r"conv_in", lambda m, up: "conv_in"),
    (r"down_(\d+)_(\d+)", lambda m, up: f"down_blocks.{m[1]}.resnets.{m[2]}"),
    (r"down_(\d+)_(\d+)_attention", lambda m, up: f"down_blocks.{m[1]}.attentions.{m[2]}"),
    (r"input_(\d+)", lambda m, up: f"down_blocks.{m[1]}.skip_conv"),
    (r"middle_(\d)", lambda m, up: f"mid_block.resnets.{m[1]}"),
    (r"middle_attention", lambda m, up: "mid_block.attentions.0"),
    (r"up_(\d+)_(\d+)", lambda m, up: f"up_blocks.{up - int(m[1])}.resnets.{m[2]}"),
    (r"up_(\d+)_attention", lambda m, up: f"up_blocks.{up - int(m[1])}.attentions.0"),
    (r"up_(\d+)_(\d+)_attention", lambda m, up: f"up_blocks.{up - int(m[1])}.attentions.{m[2]}"),
    (r"output_(\d+)_norm", lambda m, up: f"up_blocks.{up - int(m[1])}.skip_norm"),
    (r"output_(\d+)", lambda m, up: f"up_blocks.{up - int(m[1])}.skip_conv"),
)
"""Our parts, and what they are called there; ``up`` is the number of the last level,
for levels rise there.
"""

RESAMPLING = {
    ("shrink", False): "down_blocks.{}.downsamplers.0",
    ("shrink", True): "down_blocks.{}.resnet_down",
    ("grow", False): "up_blocks.{}.upsamplers.0",
    ("grow", True): "up_blocks.{}.resnet_up",
}
"""The parts that resample, by whether they are residual blocks."""

LAYERS = {
    "norm_in": ("norm1",),
    "conv_in": ("conv1",),
    "condition": ("time_emb_proj",),
    "norm_out": ("norm2",),
    "conv_out": ("conv2",),
    "skip": ("conv_shortcut",),
    "norm": ("group_norm",),
    "query": ("to_q", "query"),
    "key": ("to_k", "key"),
    "value": ("to_v", "value"),
    "out": ("to_out.0", "proj_attn"),
    "conv": ("conv",),
}
"""Our layers within a part, and what they are called there: newer names first."""

TENSORS = {
    "kernel": ("weight",),
    "bias": ("bias",),
    "scale": ("weight",),
    "frequencies": ("weight", "W"),
}
"""Our tensors within a layer, and what they are called there."""


def params_from_diffusers(network: ScoreNetwork, tensors: Mapping[str, np.ndarray]) -> Params:
    """The parameters of a network from the tensors of a ``UNet2DModel`` of the same shape.

    Raises:
        ValueError: in one line, where a tensor is missing, has no place, or has another
            shape.
    """
    expected = jax.eval_shape(network.init, jax.random.key(0))
    last = max(int(name.split("_")[1]) for name in expected if name.startswith("down_"))
    left = dict(tensors)

    def take(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        ours, *layer, tensor = (key.key for key in path)
        part = _part(ours, last, is_block="norm_in" in expected[ours])
        names = [
            ".".join((part, *middle, end))
            for middle in ([(name,) for name in LAYERS[layer[0]]] if layer else [()])
            for end in TENSORS[tensor]
        ]
        name = next((name for name in names if name in left), None)
        if name is None:
            raise ValueError(f"the weights lack {names[0]}, for {'/'.join((ours, *layer, tensor))}")
        value = left.pop(name)
        # A table of classes has a row for each, as a linear map of one-hot labels has
        # here.
        value = value if ours == "label" else _laid_out(value, tensor, leaf.shape)
        if value.shape != leaf.shape:
            found, wanted = tuple(tensors[name].shape), leaf.shape
            raise ValueError(
                f"{name} has the shape {found}, the network needs {wanted} in the order of flax"
            )
        if not np.isfinite(value).all():
            raise ValueError(f"damaged: the values of {name} are not all finite")
        return np.ascontiguousarray(value, np.float32)

    params = jax.tree_util.tree_map_with_path(take, expected)
    left.pop("time_proj.W", None)  # there twice in some files
    if left:
        raise ValueError(
            f"the network has no place for {len(left)} of the weights, the first is "
            f"{next(iter(left))}"
        )
    return params


def _part(ours: str, last: int, *, is_block: bool) -> str:
    kind, _, level = ours.partition("_")
    if (kind, is_block) in RESAMPLING:
        return RESAMPLING[kind, is_block].format(
            int(level) if kind == "shrink" else last - int(level)
        )
    return next(
        name(match, last) for pattern, name in PARTS if (match := re.fullmatch(pattern, ours))
    )


def _laid_out(value: np.ndarray, tensor: str, wanted: tuple[int, ...]) -> np.ndarray:
    """A tensor with its axes in our order: outputs last, and none left of a window of
    one pixel in a linear map.
    """
    if tensor != "kernel":
        return value
    value = value.transpose(*range(2, value.ndim), 1, 0) if value.ndim in (2, 4) else value
    return (
        value[0, 0] if len(wanted) == 2 and value.ndim == 4 and value.shape[:2] == (1, 1) else value
    )
