"""Diffusers' ``UNet2DModel`` as a network of this package: its options and its parameters.

Every key of its config is used, known to be idle, or an error.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from score_sde.checks import fail, require
from score_sde.interop.options import Options, whole
from score_sde.models.base import ScoreNetwork
from score_sde.typing import Params

DEFAULTS: Mapping[str, Any] = {
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
    "_class_name",
    "_diffusers_version",
    "_name_or_path",
    "_use_default_values",
    "torch_dtype",
    # of a learned time embedding
    "num_train_timesteps",
    # of the average of parameters
    "decay",
    "inv_gamma",
    "min_decay",
    "optimization_step",
    "power",
    "update_after_step",
    "use_ema_warmup",
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
"""The supported values of options, for both kinds of network."""

KINDS: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "ddpm": {"mid_block_scale_factor": (1,), "time_embedding_type": ("positional",)},
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
"""The supported values of options, for one kind of network."""

BLOCKS = {"ddpm": ("DownBlock2D", "UpBlock2D"), "ncsnpp": ("SkipDownBlock2D", "SkipUpBlock2D")}
"""The blocks of each kind; with ``Attn`` before it, a block has attention."""

MAX_SIZE = 2**16
"""The largest number of channels, pixels, layers or classes."""


class Network(NamedTuple):
    """A network.

    Attributes:
        kind: ``ddpm`` or ``ncsnpp``.
        fields: the network and the data as fields of a published config.
        options: options of the network that no published config has.
    """

    kind: str
    fields: dict[str, Any]
    options: dict[str, Any]


def read_network(config: Mapping[str, Any], num_tensors: int) -> Network:
    """The network of a config whose weights are ``num_tensors`` tensors.

    Raises:
        ValueError: for an option that is unknown, or that no network here supports.
    """
    options = Options(config, defaults=DEFAULTS)
    options.only("_class_name", "UNet2DModel", because="no other class is supported")
    options.finish("UNet2DModel", IDLE)
    kind = "ncsnpp" if options["time_embedding_type"] == "fourier" else "ddpm"
    for name, values in {**COMMON, **KINDS[kind]}.items():
        options.only(name, *values)
    fields = _fields(options, kind)
    # A layer has more than ten tensors. Without this check a small file could make a
    # network that takes hours to build.
    layers = fields["model.num_res_blocks"] * len(fields["model.ch_mult"])
    require(
        layers <= num_tensors,
        f"layers_per_block={options['layers_per_block']} makes {layers} layers of {num_tensors} "
        "tensors",
    )
    more = _ddpm_options(options) if kind == "ddpm" else {"diffusers_groups": True}
    return Network(kind, fields, more)


def _size(name: str, value: Any) -> int:
    return whole(name, value, least=1, most=MAX_SIZE)


def _fields(options: Options, kind: str) -> dict[str, Any]:
    channels = [_size("block_out_channels", c) for c in options["block_out_channels"]]
    size = options["sample_size"]
    if isinstance(size, list) and len(size) == 2 and size[0] == size[1]:
        size = size[0]
    size = _size("sample_size", size)
    down, up = BLOCKS[kind]
    attended = [_attended(name, down) for name in options["down_block_types"]]
    mirrored = [_attended(name, up) for name in options["up_block_types"]][::-1]
    require(
        attended == mirrored and len(attended) == len(channels),
        "the up blocks do not mirror the down blocks, or there are not as many as "
        "block_out_channels",
    )
    if any(c % channels[0] for c in channels):
        fail("block_out_channels", channels, "multiples of the first")
    options.only("time_embedding_dim", None, 4 * channels[0])
    require(
        options["in_channels"] == options["out_channels"],
        "in_channels and out_channels differ: the networks here return an image of the shape of "
        "their input, without a learned variance or a further input",
    )
    fields = {
        "name": kind,
        "nf": channels[0],
        "ch_mult": tuple(c // channels[0] for c in channels),
        "num_res_blocks": _size("layers_per_block", options["layers_per_block"]),
        "attn_resolutions": tuple(size // 2**level for level, has in enumerate(attended) if has),
        "dropout": options["dropout"],
    }
    pyramids = {
        "progressive": "output_skip",
        "progressive_input": "input_skip",
        "scale_by_sigma": True,
    }
    fields |= pyramids if kind == "ncsnpp" else {}
    data = {
        "data.image_size": size,
        "data.num_channels": _size("in_channels", options["in_channels"]),
        "data.centered": kind == "ddpm",
    }
    return {**{f"model.{name}": value for name, value in fields.items()}, **data}


def _attended(name: Any, block: str) -> bool:
    """Whether a block of a level has attention."""
    require(
        name in (block, f"Attn{block}"),
        f"the block {name!r:.100} must be {block} or Attn{block}, the only blocks of the networks "
        "here",
    )
    return name != block


def _ddpm_options(options: Options) -> dict[str, Any]:
    """The options of DDPM that its published configs do not have."""
    heads, classes = options["attention_head_dim"], options["num_class_embeds"]
    return {
        "attend_every_block": True,
        "attend_in_middle": options.flag("add_attention"),
        "attention_head_dim": None if heads is None else _size("attention_head_dim", heads),
        "num_groups": _size("norm_num_groups", options["norm_num_groups"]),
        "norm_eps": float(options.number("norm_eps")),
        "pad_both_sides": options.only("downsample_padding", 1, 0) == 1,
        "freq_shift": float(options.number("freq_shift")),
        "cosine_first": options.flag("flip_sin_to_cos"),
        "rescale_input": options.flag("center_input_sample"),
        "num_classes": None if classes is None else _size("num_class_embeds", classes),
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
"""Patterns of our parts, and their names in diffusers, where up blocks count from the
last level, ``up``.
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
"""Our layers within a part, and their names in diffusers: newer names first."""

TENSORS = {
    "kernel": ("weight",),
    "bias": ("bias",),
    "scale": ("weight",),
    "frequencies": ("weight", "W"),
}
"""Our tensors within a layer, and their names in diffusers."""


def params_from_diffusers(network: ScoreNetwork, tensors: Mapping[str, np.ndarray]) -> Params:
    """The parameters of a network from the tensors of a ``UNet2DModel`` of the same shape.

    Raises:
        ValueError: where a tensor is missing, has no place, has another shape, or is not
            finite.
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
        name = next((name for name in names if name in left), names[0])
        require(name in left, f"the weights lack {name}, for {'/'.join((ours, *layer, tensor))}")
        value = left.pop(name)
        # A table of classes has a row for each class, as the linear map of one-hot
        # labels here.
        value = value if ours == "label" else _laid_out(value, tensor, leaf.shape)
        require(
            value.shape == leaf.shape,
            f"{name} has the shape {tuple(tensors[name].shape)}, the network needs {leaf.shape} "
            "in the order of flax",
        )
        require(np.isfinite(value).all(), f"damaged: the values of {name} are not all finite")
        return np.ascontiguousarray(value, np.float32)

    params = jax.tree_util.tree_map_with_path(take, expected)
    left.pop("time_proj.W", None)  # some files have a copy of time_proj.weight
    require(
        not left,
        f"the network has no place for {len(left)} of the weights, the first is "
        f"{next(iter(left), None)}",
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
    """A tensor with its axes in our order, outputs last; for a linear map, without the
    axes of a window of one pixel.
    """
    if tensor != "kernel":
        return value
    value = value.transpose(*range(2, value.ndim), 1, 0) if value.ndim in (2, 4) else value
    return (
        value[0, 0] if len(wanted) == 2 and value.ndim == 4 and value.shape[:2] == (1, 1) else value
    )
