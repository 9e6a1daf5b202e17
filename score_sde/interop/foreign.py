"""A checkpoint of another project, whatever its kind, as parameters of a network here."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from score_sde.interop.flax_file import read_flax
from score_sde.interop.ncsn_names import params_from_ncsn, params_from_ncsnv2
from score_sde.interop.score_sde_names import params_from_flax, params_from_torch
from score_sde.interop.torch_file import read_torch
from score_sde.models.base import ScoreNetwork
from score_sde.typing import Params

TORCH_BEGINNINGS = (b"PK\x03\x04", b"\x80")
"""What a file written by ``torch.save`` begins with: a zip archive, or a pickle."""


def read_foreign(
    path: str | Path, network: ScoreNetwork, *, name: str, options: Mapping[str, Any], shape: Sequence[int]
) -> Params:
    """The parameters of ``network`` from a checkpoint of Score-SDE (PyTorch or JAX), ScoreFlow, NCSN or NCSNv2.

    Nothing in the file is run. Averaged parameters are taken where there are any.

    Args:
        path: the file.
        network: the network that the parameters are for.
        name: what it is called in a config: ``ddpm``, ``ncsnpp``, ``ncsn`` or ``ncsnv2``.
        options: the arguments that it was built with.
        shape: the shape of one image.

    Raises:
        OSError: where the file cannot be opened.
        ValueError: in one line, where it is damaged, of an unknown kind, or not of this network.
    """
    path = Path(path)
    with path.open("rb") as file:
        is_torch = file.read(4).startswith(TORCH_BEGINNINGS)
    # A msgpack of a dictionary of at most 15 entries begins with 0x80 to 0x8f; that of no entries is no checkpoint.
    checkpoint = read_torch(path) if is_torch else read_flax(path)
    try:
        if name in ("ncsn", "ncsnv2"):
            return _refinenet(checkpoint, name, {**options, "shape": tuple(shape)})
        if name in ("ddpm", "ncsnpp"):
            if not isinstance(checkpoint, Mapping):
                raise ValueError(f"no checkpoint of Score-SDE: it holds {type(checkpoint).__name__}, not a dictionary")
            return (params_from_torch if is_torch else params_from_flax)(network, checkpoint)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    raise ValueError(f"{path}: foreign checkpoints are of the networks ddpm, ncsnpp, ncsn and ncsnv2, not {name!r}")


def _refinenet(checkpoint: Any, name: str, options: Mapping[str, Any]) -> Params:
    """From ``[model, optimizer]`` of NCSN, or ``[model, optimizer, epoch, step, ema]`` of NCSNv2."""
    if not isinstance(checkpoint, Sequence) or not checkpoint or not isinstance(checkpoint[0], Mapping):
        raise ValueError("no checkpoint of NCSN: it needs a list that begins with the model")
    if name == "ncsn":
        return params_from_ncsn(checkpoint[0], options)
    averaged = len(checkpoint) > 4 and isinstance(checkpoint[4], Mapping) and checkpoint[4]
    return params_from_ncsnv2(averaged or checkpoint[0], options)
