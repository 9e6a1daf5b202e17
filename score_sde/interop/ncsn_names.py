"""The parameters of the original NCSN and NCSNv2 checkpoints (PyTorch), under our names.

An NCSN checkpoint is the list ``[model, optimizer]`` and an NCSNv2 checkpoint ``[model,
optimizer, epoch, step, ema]``. The functions here take ``model`` or ``ema``: tensors by
name, with or without the prefix ``module.``. The weight of a convolution is ``[out, in,
height, width]`` in PyTorch and ``[height, width, in, out]`` here.

They raise ``ValueError`` where a tensor is missing, unknown or of another shape than the
network's, or the noise levels differ.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from score_sde.checks import require
from score_sde.models.base import ScoreNetwork
from score_sde.models.ncsn import ncsn
from score_sde.models.ncsnv2 import STAGES, ncsnv2, stages_for
from score_sde.models.refinenet import Stage, geometric_sigmas
from score_sde.typing import Params

STAGE_NAMES = {
    4: ("1", "2", "3", "4"),
    5: ("1", "2", "3", "4", "5"),
    6: ("1", "2", "3", "31", "4", "5"),
}
"""The names of the stages after ``res``, by the number of stages."""

REFINE_NAMES = {
    4: ("4", "3", "2", "1"),
    5: ("5", "4", "3", "2", "1"),
    6: ("5", "4", "3", "31", "2", "1"),
}
"""The names of the refinement blocks after ``refine``, by the number of stages."""

UNIT_NAMES = {"adapt1": "adapt_convs.0", "adapt2": "adapt_convs.1", "output": "output_convs"}
"""The residual units of a refinement block."""

LEAF_NAMES = {"kernel": "weight", "table": "embed.weight", "scale": "alpha"}
"""The arrays of a layer that have other names there; ``scale`` is of ``VarianceNorm``."""


def params_from_ncsn(tensors: Mapping[str, np.ndarray], options: Mapping[str, Any]) -> Params:
    """The parameters of ``score_sde.models.ncsn(**options)`` from ``model`` of an NCSN
    checkpoint.
    """
    return _params(tensors, ncsn, options, STAGES[64])


def params_from_ncsnv2(tensors: Mapping[str, np.ndarray], options: Mapping[str, Any]) -> Params:
    """The parameters of ``score_sde.models.ncsnv2(**options)`` from ``model`` or ``ema``
    of an NCSNv2 checkpoint.

    ``model`` also holds the table of noise levels, which must agree with the options. The
    original ``InstanceNorm`` has no parameters: ours are set to one and zero.
    """
    return _params(
        tensors, ncsnv2, options, stages_for(options["shape"], options.get("resolution"))
    )


def _params(
    tensors: Mapping[str, np.ndarray],
    builder: Callable[..., ScoreNetwork],
    options: Mapping[str, Any],
    stages: tuple[Stage, ...],
) -> Params:
    parameters = inspect.signature(builder).parameters.values()
    defaults = {
        parameter.name: parameter.default for parameter in parameters if parameter.name != "shape"
    }
    options = {**defaults, **options}
    left = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    if "sigmas" in left:
        _check_sigmas(left.pop("sigmas"), options)
    modules = _module_names(stages)

    def take(path: tuple[Any, ...], wanted: jax.ShapeDtypeStruct) -> np.ndarray:
        *module, leaf = (key.key for key in path)
        name = modules[tuple(module)]
        if options["normalization"] == "InstanceNorm" and "norm" in module[-1]:
            return np.full(wanted.shape, float(leaf == "scale"), np.float32)
        return _tensor(left, f"{name}.{LEAF_NAMES.get(leaf, leaf)}", wanted.shape)

    params = jax.tree_util.tree_map_with_path(
        take, jax.eval_shape(builder(**options).init, jax.random.key(0))
    )
    require(
        not left,
        f"the network has no place for {len(left)} tensors of the checkpoint: "
        f"{', '.join(sorted(left))}",
    )
    return params


def _tensor(left: dict[str, np.ndarray], name: str, wanted: tuple[int, ...]) -> np.ndarray:
    """Take the tensor ``name`` out of ``left``, as an array of the shape ``wanted``."""
    require(name in left, f"the checkpoint lacks the tensor {name}")
    tensor = left.pop(name)
    order = (2, 3, 1, 0)
    there = tuple(wanted[order.index(axis)] for axis in range(4)) if len(wanted) == 4 else wanted
    require(
        tensor.shape == there,
        f"the tensor {name} has the shape {tensor.shape}, the network needs {there}",
    )
    return np.ascontiguousarray(tensor.transpose(order) if len(wanted) == 4 else tensor, np.float32)


def _check_sigmas(found: np.ndarray, options: Mapping[str, Any]) -> None:
    wanted = np.array(
        geometric_sigmas(options["sigma_min"], options["sigma_max"], options["num_scales"])
    )
    require(
        found.shape == wanted.shape,
        f"the tensor sigmas has the shape {found.shape}, the network needs {wanted.shape} "
        "(num_scales)",
    )
    require(
        np.allclose(found, wanted, rtol=1e-4),
        f"the checkpoint's noise levels fall from {found[0]:g} to {found[-1]:g}, not "
        f"geometrically from {wanted[0]:g} to {wanted[-1]:g} (sigma_max, sigma_min)",
    )


def _module_names(stages: tuple[Stage, ...]) -> dict[tuple[str, ...], str]:
    """The original names of our layers, including layers that not every network has."""
    names = {("conv_in",): "begin_conv", ("conv_out",): "end_conv", ("norm_out",): "normalizer"}
    residual, refine = STAGE_NAMES[len(stages)], REFINE_NAMES[len(stages)]
    for i, stage in enumerate(stages):
        for j, letter in enumerate("ab"):
            names |= _residual_names(
                f"stage{i + 1}{letter}", f"res{residual[i]}.{j}", stage.down and j == 0
            )
        names |= _refine_names(f"refine{i + 1}", f"refine{refine[i]}")
    return names


def _residual_names(ours: str, theirs: str, pooled: bool) -> dict[tuple[str, ...], str]:
    # A convolution that is pooled sits in a module of its own there.
    inner = ".conv" if pooled else ""
    return {
        (ours, "norm1"): f"{theirs}.normalize1",
        (ours, "conv1"): f"{theirs}.conv1",
        (ours, "norm2"): f"{theirs}.normalize2",
        (ours, "conv2"): f"{theirs}.conv2{inner}",
        (ours, "shortcut"): f"{theirs}.shortcut{inner}",
    }


def _refine_names(ours: str, theirs: str) -> dict[tuple[str, ...], str]:
    names = {}
    for kind in ("conv", "norm"):
        for i in (1, 2):
            names[ours, f"fuse_{kind}{i}"] = f"{theirs}.msf.{kind}s.{i - 1}"
            names[ours, "pool", f"{kind}{i}"] = f"{theirs}.crp.{kind}s.{i - 1}"
        for part, name in UNIT_NAMES.items():
            for unit in (1, 2, 3):
                for step in (1, 2):
                    names[ours, part, f"{kind}{unit}_{step}"] = (
                        f"{theirs}.{name}.{unit}_{step}_{kind}"
                    )
    return names
