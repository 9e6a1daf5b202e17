"""Bounds on the network that the config of a foreign file describes, by the file's own size."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from score_sde import checks

MAX_SCALES = 10**6
"""Noise levels of a table; published models have a few thousand at most."""

DEPTHS = ("num_res_blocks", "num_blocks", "num_couplings", "blocks_per_group")
"""Options of networks: how often a block with parameters of its own is repeated."""

LEVELS = ("ch_mult", "channel_mult")
"""Options of networks with one number for each resolution, at which blocks are repeated."""

WIDTHS = (
    "nf",
    "channels",
    "channel_multiplier",
    "hidden_sizes",
    "embedding_dim",
    "num_classes",
    *LEVELS,
)
"""Options of networks: the width of a layer."""


def check_network_size(config: Mapping[str, Any], arrays: Iterable[Any]) -> None:
    """Compare the network of a config, before it is built, with the tensors of its file.

    Args:
        config: the sections of a config; missing options and options of a wrong type
            are not checked.
        arrays: the tensors of the file.

    Raises:
        ValueError: where the network would have more blocks than the file has tensors,
            or a wider layer than the file has parameters; it names the option.
    """
    sizes = [math.prod(np.shape(array)) for array in arrays]
    tensors = f"the file has {len(sizes)} tensors"
    options = config.get("model")
    options = options if isinstance(options, Mapping) else {}
    for name, value in options.items():
        if isinstance(value, list | tuple):
            _at_most(len(sizes), f"the length of model.{name}", len(value), tensors)
    levels = [len(options[name]) for name in LEVELS if isinstance(options.get(name), list | tuple)]
    repeated = {
        f"model.{name}": options[name] for name in DEPTHS if isinstance(options.get(name), int)
    }
    if repeated:
        blocks = math.prod([*levels, *repeated.values()])
        _at_most(len(sizes), f"the blocks of {', '.join(repeated)}", blocks, tensors)
    for name in WIDTHS:
        value = options.get(name)
        for width in value if isinstance(value, list | tuple) else [value]:
            _at_most(sum(sizes), f"model.{name}", width, f"the file has {sum(sizes)} parameters")
    for section, values in config.items():
        if isinstance(values, Mapping):
            _at_most(MAX_SCALES, f"{section}.num_scales", values.get("num_scales"))


def _at_most(most: int, name: str, found: Any, because: str = "") -> None:
    if isinstance(found, int | float) and not found <= most:
        checks.fail(name, found, f"at most {most}", because)
