"""A checkpoint of another project as parameters of a network here."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from score_sde.checks import one_of
from score_sde.interop.classifier_names import params_from_classifier
from score_sde.interop.flax_file import read_flax
from score_sde.interop.ncsn_names import params_from_ncsn, params_from_ncsnv2
from score_sde.interop.score_sde_names import params_from_flax, params_from_torch
from score_sde.interop.torch_file import read_torch
from score_sde.models.base import ScoreNetwork
from score_sde.models.wideresnet import Classifier
from score_sde.runtime.bounded_reading import arrays_in
from score_sde.runtime.damage import FileError, errors_in, need_format
from score_sde.runtime.fingerprints import named_leaves
from score_sde.typing import Params

TORCH_BEGINNINGS = (b"PK\x03\x04", b"\x80")
"""The first bytes of a file of ``torch.save``: of a zip archive, or of a pickle."""

NETWORKS = ("ddpm", "ncsnpp", "ncsn", "ncsnv2", "wideresnet")
"""The networks of foreign checkpoints, by their names in a config."""


class Foreign(NamedTuple):
    """The parameters in a foreign checkpoint.

    Attributes:
        step: the number of updates before it was written; 0 where the file has none.
        params: the parameters, averaged where there is an average.
    """

    step: int
    params: Params


class Opened(NamedTuple):
    """A foreign checkpoint, read without knowing its network.

    Attributes:
        path: the file.
        is_torch: whether it is of PyTorch, else of flax.
        tree: its contents, with NumPy arrays.
    """

    path: str | Path
    is_torch: bool
    tree: Any

    @property
    def arrays(self) -> list[np.ndarray]:
        """All arrays in it, including the arrays of an optimizer."""
        return arrays_in(self.tree)


def open_foreign(path: str | Path) -> Opened:
    """Read a checkpoint of Score-SDE (PyTorch or JAX), ScoreFlow, NCSN or NCSNv2;
    nothing in it is run.

    Raises:
        OSError: where the file cannot be opened.
        FileError: where it is damaged or of an unknown kind.
    """
    return Opened(path, *_read(path))


def read_foreign(
    path: str | Path,
    network: ScoreNetwork | Classifier,
    *,
    name: str,
    options: Mapping[str, Any],
    shape: Sequence[int],
) -> Foreign:
    """The parameters of ``network`` from a file: `params_of` of `open_foreign`."""
    return params_of(open_foreign(path), network, name=name, options=options, shape=shape)


def params_of(
    opened: Opened,
    network: ScoreNetwork | Classifier,
    *,
    name: str,
    options: Mapping[str, Any],
    shape: Sequence[int],
) -> Foreign:
    """The parameters of ``network`` from a foreign checkpoint; averaged, where it has an
    average.

    Args:
        opened: the checkpoint.
        network: the network.
        name: its name in a config: ``ddpm``, ``ncsnpp``, ``ncsn``, ``ncsnv2``, or
            ``wideresnet`` for the noise-conditional classifier of Score-SDE in JAX.
        options: its arguments.
        shape: the shape of one image.

    Raises:
        FileError: where the checkpoint is damaged, or not of this network.
    """
    path, is_torch, checkpoint = opened
    with errors_in(path, LookupError, TypeError, AttributeError):
        because = "the only networks of foreign checkpoints"
        one_of(NETWORKS, because=because, **{"model.name": name})
        if name in ("ncsn", "ncsnv2"):
            params = _refinenet(checkpoint, name, {**options, "shape": tuple(shape)})
        else:
            need_format(
                isinstance(checkpoint, Mapping),
                f"no checkpoint of Score-SDE: it holds {type(checkpoint).__name__}, not a "
                "dictionary",
            )
            params = _params_of_score_sde(checkpoint, network, is_torch)
        _check_finite(params)
    return Foreign(_step(checkpoint), params)


def count_parameters(path: str | Path) -> int:
    """The number of parameters in a foreign checkpoint, by which its network is recognised.

    Raises:
        OSError: where the file cannot be opened.
        FileError: where it is damaged or of an unknown kind.
    """
    _, checkpoint = _read(path)
    tree = checkpoint
    if isinstance(checkpoint, Mapping):
        tree = checkpoint.get("model", checkpoint.get("params_ema"))
    elif isinstance(checkpoint, Sequence) and checkpoint:
        tree = checkpoint[0]
    if not isinstance(tree, Mapping):
        raise FileError(f"{path}: no checkpoint of Score-SDE, ScoreFlow, NCSN or NCSNv2")
    tree = {name: value for name, value in tree.items() if not str(name).endswith("sigmas")}
    return sum(array.size for array in arrays_in(tree))


def _read(path: str | Path) -> tuple[bool, Any]:
    """Whether a file is of PyTorch, and its contents."""
    with Path(path).open("rb") as file:
        is_torch = file.read(4).startswith(TORCH_BEGINNINGS)
    # A msgpack of a dictionary of up to 15 entries begins with 0x80 + their number, and
    # an empty dictionary (0x80) is no checkpoint.
    return is_torch, (read_torch if is_torch else read_flax)(path)


def _params_of_score_sde(
    checkpoint: Mapping[str, Any], network: ScoreNetwork | Classifier, is_torch: bool
) -> Params:
    if isinstance(network, Classifier):
        return params_from_classifier(network.init, checkpoint)
    return (params_from_torch if is_torch else params_from_flax)(network, checkpoint)


def _refinenet(checkpoint: Any, name: str, options: Mapping[str, Any]) -> Params:
    """From ``[model, optimizer]`` of NCSN, or ``[model, optimizer, epoch, step, ema]``
    of NCSNv2.
    """
    is_list = isinstance(checkpoint, Sequence) and len(checkpoint) > 0
    need_format(
        is_list and isinstance(checkpoint[0], Mapping),
        "no checkpoint of NCSN: it needs a list that begins with the model",
    )
    if name == "ncsn":
        return params_from_ncsn(checkpoint[0], options)
    averaged = len(checkpoint) > 4 and isinstance(checkpoint[4], Mapping) and checkpoint[4]
    return params_from_ncsnv2(averaged or checkpoint[0], options)


def _step(checkpoint: Any) -> int:
    step = 0
    if isinstance(checkpoint, Mapping):
        step = checkpoint.get("step", 0)
    elif len(checkpoint) > 3:
        step = checkpoint[3]
    whole = isinstance(step, int | np.integer) or (isinstance(step, np.ndarray) and step.size == 1)
    return max(0, int(step)) if whole else 0


def _check_finite(params: Params) -> None:
    for name, leaf in named_leaves(params).items():
        if not np.isfinite(leaf).all():
            raise ValueError(f"damaged: the values for {name} are not all finite")
