"""The weights of a model of diffusers: one file or shards, in any precision."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, deserialize

from score_sde.interop.torch_file import read_torch
from score_sde.runtime.bounded_reading import one_line, read_json

STEM = "diffusion_pytorch_model"
SINGLE = tuple(f"{STEM}{variant}.safetensors" for variant in ("", ".fp16", ".bf16"))
SHARDED = (
    f"{STEM}.safetensors.index.json",
    *(f"{STEM}.{variant}.safetensors.index.json" for variant in ("fp16", "bf16")),
    *(f"{STEM}.safetensors.index.{variant}.json" for variant in ("fp16", "bf16")),
)
PICKLED = tuple(f"{STEM}{variant}.bin" for variant in ("", ".fp16"))
WEIGHTS = (SINGLE[0], SHARDED[0], *SINGLE[1:], *SHARDED[1:], *PICKLED)
"""The files that weights may be in: full precision first, pickles last."""

DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16}

MAX_SHARDS = 1000


def read_weights(folder: Path) -> dict[str, np.ndarray]:
    """The tensors of a model by their names there; half precisions as float32. Nothing is run.

    Raises:
        FileNotFoundError: where there are no weights, or a shard is missing.
        ValueError: in one line, where a file is damaged, or an index names files
            outside the folder.
    """
    path = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        raise FileNotFoundError(f"no {SINGLE[0]} or {PICKLED[0]} in {folder}")
    if path.suffix == ".json":
        return _read_shards(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    tensors = read_torch(path)
    if not isinstance(tensors, Mapping) or not all(
        isinstance(value, np.ndarray) for value in tensors.values()
    ):
        raise ValueError(f"{path} is no file of weights: it needs a dictionary of tensors")
    return {str(name): value for name, value in tensors.items()}


def _read_shards(index: Path) -> dict[str, np.ndarray]:
    """The tensors of an index, whose shards lie beside it."""
    try:
        places: Any = read_json(index)["weight_map"]
        shards = sorted(set(places.values()))
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ValueError(f"{index} is damaged: it is no index of tensors") from None
    if len(shards) > MAX_SHARDS:
        raise ValueError(f"{index} is damaged: it names {len(shards)} files")
    found = {}
    for shard in shards:
        if (
            not isinstance(shard, str)
            or shard != Path(shard).name
            or not shard.endswith(".safetensors")
        ):
            raise ValueError(
                f"{index} names {shard!r:.100}, which is no .safetensors file of its folder"
            )
        if not (index.parent / shard).is_file():
            raise FileNotFoundError(f"no {shard} in {index.parent}, of which {index.name} tells")
        tensors = _read_safetensors(index.parent / shard)
        for name in (name for name, place in places.items() if place == shard):
            if name not in tensors:
                raise ValueError(
                    f"{index.parent / shard} lacks {name}, which {index.name} says it has"
                )
            found[name] = tensors[name]
    return found


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        entries = deserialize(path.read_bytes())
        return {name: _array(name, entry) for name, entry in entries}
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is damaged: {one_line(error)}") from None


def _array(name: str, entry: Mapping[str, Any]) -> np.ndarray:
    kind, data, shape = entry["dtype"], entry["data"], entry["shape"]
    if kind == "BF16":
        # The upper halves of float32.
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
    if kind not in DTYPES:
        raise ValueError(f"{name} is of the type {kind}, where weights are floating-point numbers")
    return np.frombuffer(data, np.dtype(DTYPES[kind]).newbyteorder("<")).reshape(shape)
