"""A checkpoint of another project, whatever its kind, as parameters of a network here."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from score_sde.interop.flax_file import read_flax
from score_sde.interop.ncsn_names import params_from_ncsn, params_from_ncsnv2
from score_sde.interop.score_sde_names import params_from_flax, params_from_torch
from score_sde.interop.torch_file import read_torch
from score_sde.models.base import ScoreNetwork
from score_sde.runtime.bounded_reading import arrays_in
from score_sde.runtime.fingerprints import named_leaves
from score_sde.typing import Params

TORCH_BEGINNINGS = (b"PK\x03\x04", b"\x80")
"""What a file written by ``torch.save`` begins with: a zip archive, or a pickle."""

NETWORKS = ("ddpm", "ncsnpp", "ncsn", "ncsnv2")
"""The networks that foreign checkpoints are of, by their names in a config."""


class Foreign(NamedTuple):
    """What is taken from a foreign checkpoint.

    Attributes:
        step: after how many updates it was written; 0 where it does not say.
        params: the parameters, averaged where there is an average.
    """

    step: int
    params: Params


class Opened(NamedTuple):
    """A foreign checkpoint, read without knowing its network.

    Attributes:
        path: the file.
        is_torch: whether it is of PyTorch.
        tree: what it holds.
    """

    path: str | Path
    is_torch: bool
    tree: Any

    @property
    def arrays(self) -> list[np.ndarray]:
        """All arrays in it, those of an optimizer included."""
        return arrays_in(self.tree)


def open_foreign(path: str | Path) -> Opened:
    """Read a checkpoint of Score-SDE (PyTorch or JAX), ScoreFlow, NCSN or NCSNv2;
    nothing in it is run.

    Raises:
        OSError: where the file cannot be opened.
        ValueError: in one line, where it is damaged or of an unknown kind.
    """
    return Opened(path, *_read(path))


def read_foreign(
    path: str | Path,
    network: ScoreNetwork,
    *,
    name: str,
    options: Mapping[str, Any],
    shape: Sequence[int],
) -> Foreign:
    """The parameters of ``network`` from a file, as `open_foreign` and `params_of` have them."""
    return params_of(open_foreign(path), network, name=name, options=options, shape=shape)


def params_of(
    opened: Opened,
    network: ScoreNetwork,
    *,
    name: str,
    options: Mapping[str, Any],
    shape: Sequence[int],
) -> Foreign:
    """The parameters of ``network`` from a foreign checkpoint; averaged ones where there are any.

    Args:
        opened: the checkpoint.
        network: the network that the parameters are for.
        name: what it is called in a config: ``ddpm``, ``ncsnpp``, ``ncsn`` or
            ``ncsnv2``.
        options: the arguments that it was built with.
        shape: the shape of one image.

    Raises:
        ValueError: in one line, where the checkpoint is damaged, or not of this
            network.
    """
    path, is_torch, checkpoint = opened
    if name not in NETWORKS:
        raise ValueError(
            f"{path}: foreign checkpoints are of the networks {', '.join(NETWORKS)}, not {name!r}"
        )
    try:
        if name in ("ncsn", "ncsnv2"):
            params = _refinenet(checkpoint, name, {**options, "shape": tuple(shape)})
        elif isinstance(checkpoint, Mapping):
            params = (params_from_torch if is_torch else params_from_flax)(network, checkpoint)
        else:
            raise ValueError(
                f"no checkpoint of Score-SDE: it holds {type(checkpoint).__name__}, not a "
                "dictionary"
            )
        _check_finite(params)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    except (LookupError, TypeError, AttributeError) as error:  # damage that left the file readable
        raise ValueError(
            f"{path} is damaged: what it holds is in no order ({type(error).__name__})"
        ) from error
    return Foreign(_step(checkpoint), params)


def count_parameters(path: str | Path) -> int:
    """How many numbers the network of a foreign checkpoint has, to tell which network it is.

    Raises:
        OSError: where the file cannot be opened.
        ValueError: in one line, where it is damaged or of an unknown kind.
    """
    _, checkpoint = _read(path)
    tree = checkpoint
    if isinstance(checkpoint, Mapping):
        tree = checkpoint.get("model", checkpoint.get("params_ema"))
    elif isinstance(checkpoint, Sequence) and checkpoint:
        tree = checkpoint[0]
    if not isinstance(tree, Mapping):
        raise ValueError(f"{path}: no checkpoint of Score-SDE, ScoreFlow, NCSN or NCSNv2")
    tree = {name: value for name, value in tree.items() if not str(name).endswith("sigmas")}
    return sum(array.size for array in arrays_in(tree))


def _read(path: str | Path) -> tuple[bool, Any]:
    """Whether a file is of PyTorch, and what it holds."""
    with Path(path).open("rb") as file:
        is_torch = file.read(4).startswith(TORCH_BEGINNINGS)
    # A msgpack of a dictionary of at most 15 entries begins with 0x80 to 0x8f; that of
    # no entries is no checkpoint.
    return is_torch, (read_torch if is_torch else read_flax)(path)


def _refinenet(checkpoint: Any, name: str, options: Mapping[str, Any]) -> Params:
    """From ``[model, optimizer]`` of NCSN, or ``[model, optimizer, epoch, step, ema]``
    of NCSNv2.
    """
    if (
        not isinstance(checkpoint, Sequence)
        or not checkpoint
        or not isinstance(checkpoint[0], Mapping)
    ):
        raise ValueError("no checkpoint of NCSN: it needs a list that begins with the model")
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
