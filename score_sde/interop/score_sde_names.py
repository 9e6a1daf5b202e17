"""The parameters of a Score-SDE checkpoint (Song et al. 2021), under this package's names.

The published code numbers the parts of its networks in the order of their calls: in
PyTorch all together, ``all_modules.7.Conv_0.weight``, in flax by class,
``ResnetBlockBigGANpp_3/Conv_0/kernel``. The networks here call their parts in the same
order, so that the n-th parts agree; a table has the names within a part.
"""

import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from score_sde.checks import require
from score_sde.models.base import ScoreNetwork, call_order
from score_sde.typing import Params

Part = dict[str, np.ndarray]

RESIDUAL = {
    "norm_in": ("GroupNorm_0",),
    "conv_in": ("Conv_0",),
    "condition": ("Dense_0",),
    "norm_out": ("GroupNorm_1",),
    "conv_out": ("Conv_1",),
    "skip": ("NIN_0", "Conv_2"),
}
ATTENTION = {
    "norm": ("GroupNorm_0",),
    "query": ("NIN_0",),
    "key": ("NIN_1",),
    "value": ("NIN_2",),
    "out": ("NIN_3",),
}
RESAMPLING = {"conv": ("Conv_0", "Conv2d_0"), "bias": ("Conv2d_0",)}
LAYERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "residual": RESIDUAL,
    "attention": ATTENTION,
    "resampling": RESAMPLING,
}
"""The possible names in the published code of each of our layers within a part, by kind."""

ALIASES = {
    "kernel": ("W", "weight", "kernel"),
    "bias": ("b", "bias"),
    "scale": ("weight", "scale"),
    "frequencies": ("W",),
}
"""The possible names in the published code of each of our tensors within a layer."""

FLAX_PARTS = {
    "GaussianFourierProjection": "fourier",
    "Dense": "dense",
    "Conv": "conv",
    "Combine": "conv",
    "GroupNorm": "norm",
    "ResnetBlockDDPM": "residual",
    "ResnetBlockDDPMpp": "residual",
    "ResnetBlockBigGANpp": "residual",
    "AttnBlock": "attention",
    "AttnBlockpp": "attention",
    "Downsample": "resampling",
    "Upsample": "resampling",
}
"""The kinds of parts by their classes in the flax networks."""


class Framework(NamedTuple):
    """The separator of names in a framework, and whether outputs are the first axis of its
    weights.
    """

    separator: str
    outputs_first: bool


TORCH, FLAX = Framework(".", outputs_first=True), Framework("/", outputs_first=False)


def params_from_torch(network: ScoreNetwork, checkpoint: Mapping[str, Any]) -> Params:
    """The averaged parameters of a checkpoint of Score-SDE in PyTorch.

    The average is a list without names, in the order of the trained parameters of the
    model. Parameters that are not trained, such as the frequencies of Fourier features,
    come from the model.

    Raises:
        ValueError: where the checkpoint is not of this kind, or does not fit the network.
    """
    try:
        model, average = checkpoint["model"], list(checkpoint["ema"]["shadow_params"])
        names = [re.sub(r"^(module\.)?all_modules\.", "", name) for name in model]
    except (KeyError, TypeError, AttributeError):
        raise ValueError(
            "no checkpoint of Score-SDE in PyTorch: it needs model and ema.shadow_params"
        ) from None
    tensors = dict(zip(names, model.values(), strict=True))
    for name in ("module.sigmas", "sigmas"):
        tensors.pop(name, None)
    fixed = {name for name in tensors if re.fullmatch(r"\d+\.W", name)}
    trained = [name for name in tensors if name not in fixed]
    require(
        len(average) == len(trained),
        f"ema.shadow_params has {len(average)} tensors, the model trains {len(trained)}",
    )
    for name, value in zip(trained, average, strict=True):
        require(
            value.shape == tensors[name].shape,
            f"ema.shadow_params has {value.shape} where {name} is {tensors[name].shape}",
        )
        tensors[name] = value
    parts: dict[int, Part] = {}
    for name, value in tensors.items():
        number, _, inner = name.partition(".")
        require(number.isdigit(), f"the tensor {name} has no place in a network of Score-SDE")
        parts.setdefault(int(number), {})[inner] = value
    return _assembled(network, {str(number): parts[number] for number in sorted(parts)}, TORCH)


def params_from_flax(network: ScoreNetwork, checkpoint: Mapping[str, Any]) -> Params:
    """The averaged parameters of a checkpoint of Score-SDE or ScoreFlow in JAX.

    Raises:
        ValueError: where the checkpoint is not of this kind, or does not fit the network.
    """
    tree = checkpoint.get("params_ema")
    if not isinstance(tree, Mapping):
        raise ValueError("no checkpoint of Score-SDE in JAX: it needs params_ema")
    tree = tree.get("params", tree)
    kinds: dict[str, list[tuple[int, str]]] = {}
    for name in tree:
        head, _, number = name.rpartition("_")
        is_known = head in FLAX_PARTS and number.isdigit()
        require(is_known, f"the part {name} has no place in a network of Score-SDE")
        kinds.setdefault(head, []).append((int(number), name))
    queues = {head: [name for _, name in sorted(names)] for head, names in kinds.items()}
    expected = jax.eval_shape(network.init, jax.random.key(0))
    parts = {}
    for ours in call_order(network):
        name = _next_of_class(queues, ours, expected[ours])
        parts[name] = dict(_flat(tree[name]))
    left = [name for names in queues.values() for name in names]
    require(
        not left,
        f"the checkpoint has the parts {', '.join(left[:3])}, for which the network has no place",
    )
    return _assembled(network, parts, FLAX)


def _next_of_class(queues: Mapping[str, list[str]], ours: str, expected: Mapping[str, Any]) -> str:
    """The first part left of a class that can be ours."""
    kind = _kind(ours, expected)
    classes = [head for head, what in FLAX_PARTS.items() if what == kind and queues.get(head)]
    # In the input pyramid of flax a convolution lies in a part of the class Combine.
    if ours.startswith("input_") and "Combine" in classes:
        classes = ["Combine"]
    require(classes, f"the checkpoint lacks a part for {ours}")
    # Resampling parts are of two classes, by direction.
    wanted = [
        head for head in classes if head != "Combine" and _direction(ours) in ("", head)
    ] or classes
    return queues[wanted[0]].pop(0)


def _direction(ours: str) -> str:
    """The class that resamples as our part does; empty where the part does not resample."""
    return {
        "shrink": "Downsample",
        "input": "Downsample",
        "grow": "Upsample",
        "output": "Upsample",
    }.get(ours.partition("_")[0], "")


def _kind(name: str, expected: Mapping[str, Any]) -> str:
    """The kind of one of our parts, by its layers."""
    layers = set(expected)
    for kind, layer in (
        ("residual", "norm_in"),
        ("attention", "query"),
        ("fourier", "frequencies"),
        ("norm", "scale"),
    ):
        if layer in layers:
            return kind
    if "conv" in layers:
        return "resampling"
    return "conv" if len(expected["kernel"].shape) == 4 else "dense"


def _assembled(network: ScoreNetwork, parts: Mapping[str, Part], framework: Framework) -> Params:
    """Our nested parameters from the parts in the order of their calls."""
    expected = jax.eval_shape(network.init, jax.random.key(0))
    order = call_order(network)
    require(
        len(order) == len(parts),
        f"the checkpoint has {len(parts)} parts, the network of the config {len(order)}",
    )
    return {
        ours: _part(ours, expected[ours], name, tensors, framework)
        for ours, (name, tensors) in zip(order, parts.items(), strict=True)
    }


def _part(
    ours: str, expected: Mapping[str, Any], name: str, tensors: Part, framework: Framework
) -> dict[str, Any]:
    """The tensors of one part under our names: each is used once, and has our shape."""
    layers = LAYERS.get(_kind(ours, expected))
    left = dict(tensors)
    found: dict[str, Any] = {}
    for path, leaf in _flat(expected):
        layer, _, last = path.rpartition("/")
        # The tensors of a part of one layer have no layer's name, except in the class
        # Combine, which wraps its convolution.
        prefixes = layers[layer or last] if layers else ("", "Conv_0")
        names = [
            framework.separator.join(filter(None, pair))
            for pair in itertools.product(prefixes, ALIASES[last])
        ]
        theirs = next((candidate for candidate in names if candidate in left), "")
        require(theirs, f"the checkpoint lacks {ours}/{path}, looked for in part {name}")
        value = _laid_out(left.pop(theirs), last, theirs, leaf.shape, framework)
        require(
            value.shape == leaf.shape,
            f"{name}.{theirs} has the shape {value.shape}, the network needs {leaf.shape} for "
            f"{ours}/{path}",
        )
        target = found.setdefault(layer, {}) if layer else found
        target[last] = value.astype(leaf.dtype)
    require(
        not left,
        f"the checkpoint has {name}.{next(iter(left), None)}, for which {ours} has no place",
    )
    return found


def _laid_out(
    value: np.ndarray, last: str, theirs: str, shape: tuple[int, ...], framework: Framework
) -> np.ndarray:
    """A tensor with its axes in our order."""
    if last != "kernel":
        # Old versions of flax gave normalisations the shape (1, 1, 1, c).
        return value.reshape(-1) if value.ndim == 4 else value
    if value.ndim == 4:
        value = value.transpose(2, 3, 1, 0) if framework.outputs_first else value
        return value[0, 0] if len(shape) == 2 and value.shape[:2] == (1, 1) else value
    return value.T if framework.outputs_first and theirs.endswith("weight") else value


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """The leaves of a nested dictionary by their paths."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", value
