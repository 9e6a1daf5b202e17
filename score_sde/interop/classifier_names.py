"""The parameters of the noise-conditional classifier of Score-SDE (Song et al. 2021), under
this package's names.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from score_sde.checks import require
from score_sde.typing import Key, Params

PARTS = {
    "init_conv": "conv_in",
    "GaussianFourierProjection_0": "fourier",
    "Dense_0": "condition1",
    "Dense_1": "condition2",
    "pre-pool-bn": "norm_out",
    "Dense_2": "out",
}
"""The names here of the parts of the published network outside its blocks."""

LAYERS = {
    "init_bn": "norm1",
    "conv1": "conv1",
    "Dense_0": "condition",
    "bn_2": "norm2",
    "conv2": "conv2",
}
"""The names here of the layers of a published block."""

GROUP, BLOCK = "WideResnetGroup_", "WideResnetBlock_"


def params_from_classifier(
    init: Callable[[Key], Params], checkpoint: Mapping[str, Any]
) -> dict[str, Any]:
    """The parameters of a published classifier: a file of flax that holds them alone.

    Args:
        init: the function ``key -> params`` of the network.
        checkpoint: the contents of the file.

    Raises:
        ValueError: where the checkpoint is not of this kind, or does not fit the network.
    """
    tree = checkpoint.get("params", checkpoint)
    require(
        isinstance(tree, Mapping) and "init_conv" in tree,
        "no classifier of Score-SDE: it needs init_conv and WideResnetGroup_0",
    )
    theirs: dict[str, Any] = {}
    for name, part in tree.items():
        if name.startswith(GROUP):
            for block, layers in part.items():
                theirs[f"group{_next(name, GROUP)}_{_next(block, BLOCK)}"] = _renamed(
                    layers, LAYERS
                )
        else:
            theirs[PARTS.get(name) or name] = _renamed(part, {"W": "frequencies"})
    expected = jax.eval_shape(init, jax.random.key(0))
    return _fitted(theirs, expected, ())


def _next(name: str, prefix: str) -> int:
    """The number of a part, counted from 1 as here."""
    number = name.removeprefix(prefix)
    require(number.isdecimal(), f"the part {name} has no place in a classifier of Score-SDE")
    return int(number) + 1


def _renamed(part: Any, names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in part.items()}


def _fitted(theirs: Any, ours: Any, path: tuple[str, ...]) -> Any:
    """The tree with the names, shapes and types of ours."""
    name = "/".join(path)
    if isinstance(ours, Mapping):
        found = theirs if isinstance(theirs, Mapping) else {}
        for key in sorted(found.keys() ^ ours.keys()):
            where = "the checkpoint lacks" if key in ours else "the network has no place for"
            require(False, f"{where} {'/'.join((*path, key))}")
        return {key: _fitted(found[key], ours[key], (*path, key)) for key in ours}
    require(not isinstance(theirs, Mapping), f"the network has no place for parts of {name}")
    value = np.asarray(theirs)
    # Old versions of flax gave normalisations the shape (1, 1, 1, c).
    value = value.reshape(-1) if value.ndim == 4 and len(ours.shape) == 1 else value
    require(
        value.shape == ours.shape,
        f"{name} has the shape {value.shape}, the network needs {ours.shape}",
    )
    return value.astype(ours.dtype)
