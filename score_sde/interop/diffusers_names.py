"""The parameters of diffusers' ``UNet2DModel`` under this package's names."""

import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from score_sde.models.base import ScoreNetwork
from score_sde.typing import Params

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
