"""Folders of diffusers' ``UNet2DModel``, alone or in a pipeline: the options of the network
and of the scheduler, and the tensors.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from score_sde.checks import require
from score_sde.interop.diffusers_network import read_network
from score_sde.interop.diffusers_scheduler import FILE, ve_fields, vp_sections
from score_sde.interop.torch_file import read_torch
from score_sde.runtime.damage import (
    FileError,
    errors_in,
    need,
    need_format,
    read_options,
    reading,
)
from score_sde.runtime.safetensors_file import entries_of

CONFIG, INDEX = "config.json", "model_index.json"

MODELS = ("unet_ema", "unet")
"""The folders of a network in a pipeline or a training checkpoint, averaged parameters first."""

SIGMA_MAX = {32: 50.0, 64: 90.0, 256: 348.0, 1024: 1348.0}
"""The largest noise level of the published NCSN++ by the size of their images, for folders
without a scheduler.
"""

STEM = "diffusion_pytorch_model"
SINGLE = tuple(f"{STEM}{variant}.safetensors" for variant in ("", ".fp16", ".bf16"))
SHARDED = (
    f"{STEM}.safetensors.index.json",
    *(f"{STEM}.{variant}.safetensors.index.json" for variant in ("fp16", "bf16")),
    *(f"{STEM}.safetensors.index.{variant}.json" for variant in ("fp16", "bf16")),
)
PICKLED = tuple(f"{STEM}{variant}.bin" for variant in ("", ".fp16"))
WEIGHTS = (SINGLE[0], SHARDED[0], *SINGLE[1:], *SHARDED[1:], *PICKLED)
"""The possible files of weights: full precision first, pickles last."""

DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16}

MAX_SHARDS = 1000


class Diffusers(NamedTuple):
    """The contents of a folder.

    Attributes:
        fields: the network, the SDE and the data as fields of a published config, for
            `score_sde.interop.reference_config.sections_of_reference`.
        options: options of the network that no published config has.
        sections: sections of the config that no published config has.
        tensors: the weights by their names in diffusers.
    """

    fields: dict[str, Any]
    options: dict[str, Any]
    sections: dict[str, dict[str, Any]]
    tensors: dict[str, np.ndarray]


def is_diffusers(folder: str | Path) -> bool:
    """Whether a folder is a model of diffusers, or a pipeline or a training checkpoint
    with one.
    """
    return _model_folder(Path(folder)) is not None


def read_diffusers(folder: str | Path, *, scheduler: bool = True) -> Diffusers:
    """Read a folder of diffusers: DDPM (``DownBlock2D``) or NCSN++
    (``SkipDownBlock2D``). Nothing in it is run.

    The scheduler is ``scheduler/scheduler_config.json`` of a pipeline or
    ``scheduler_config.json`` beside the weights. Where there is none, a warning names the
    noise process that is assumed.

    Args:
        folder: the folder.
        scheduler: whether to read the noise process; without it ``sections`` is empty.

    Raises:
        OSError: where a file is missing.
        ValueError: where a file is damaged, or the network, the scheduler or the pipeline
            has an option that is unknown or not supported.
    """
    path = Path(folder)
    model = _model_folder(path)
    if model is None:
        raise FileError(
            f"{path} is no folder of diffusers: it needs {CONFIG} of a UNet2DModel, or {INDEX}"
        )
    _check_pipeline(path)
    config, tensors = read_options(model / CONFIG), read_weights(model)
    with errors_in(model / CONFIG, *WRONG_STRUCTURE):
        network = read_network(config, len(tensors))
    if not scheduler:
        return Diffusers(network.fields, network.options, {}, tensors)
    file = _scheduler_file(path)
    options = None if file is None else read_options(file)
    if file is None:
        assumed = (
            "VE with the published noise levels of its image size"
            if network.kind == "ncsnpp"
            else ASSUMED_VP
        )
        warnings.warn(
            f"{path} has no {FILE}, so the noise process is assumed: {assumed}", stacklevel=2
        )
    with errors_in(file or path, *WRONG_STRUCTURE):
        if network.kind == "ncsnpp":
            fields, sections = ve_fields(options, network.fields["data.image_size"], SIGMA_MAX), {}
        else:
            fields, sections = REPLACED, vp_sections(options or {})
    return Diffusers(network.fields | fields, network.options, sections, tensors)


ASSUMED_VP = "DDPM's 1,000 linear betas from 1e-4 to 0.02, predicting the noise"

REPLACED = {
    "training.sde": "vpsde",
    "sampling.predictor": "ancestral_sampling",
    "sampling.corrector": "none",
}
"""Required fields of a published config, whose sections the scheduler's sections replace."""

WRONG_STRUCTURE = (LookupError, TypeError, AttributeError, ArithmeticError)
"""The errors that options of a wrong type or length lead to."""


def read_weights(folder: Path) -> dict[str, np.ndarray]:
    """The tensors of a model by their names in diffusers; bfloat16 as float32. Nothing is
    run.

    Raises:
        FileNotFoundError: where there are no weights, or a shard is missing.
        ValueError: where a file is damaged, or an index names files outside the folder.
    """
    path = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        raise FileNotFoundError(f"no {SINGLE[0]} or {PICKLED[0]} in {folder}")
    if path.suffix == ".json":
        return _read_shards(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    tensors = read_torch(path)
    is_dictionary = isinstance(tensors, Mapping) and all(
        isinstance(value, np.ndarray) for value in tensors.values()
    )
    require(is_dictionary, f"{path} is no file of weights: it needs a dictionary of tensors")
    return {str(name): value for name, value in tensors.items()}


def _model_folder(path: Path) -> Path | None:
    if (path / MODELS[0] / CONFIG).is_file():
        return path / MODELS[0]
    if (path / INDEX).is_file() and (path / MODELS[1] / CONFIG).is_file():
        return path / MODELS[1]
    return path if (path / CONFIG).is_file() and _is_model(path) else None


def _is_model(folder: Path) -> bool:
    """Whether the options or the weights are of diffusers: other programs have files
    ``config.json`` too.
    """
    return (
        any((folder / name).is_file() for name in WEIGHTS)
        or b'"_class_name"' in (folder / CONFIG).read_bytes()
    )


def _check_pipeline(path: Path) -> None:
    """Raise ValueError for a pipeline with other networks, such as latent diffusion, which
    generates in another space.
    """
    if not (path / INDEX).is_file():
        return
    parts = read_options(path / INDEX)
    others = [
        name
        for name, value in parts.items()
        if isinstance(value, list) and any(value) and name not in (*MODELS, "scheduler")
    ]
    require(
        not others,
        f"{path / INDEX} has {', '.join(others)}: only pipelines of a network and a scheduler "
        "are read",
    )


def _scheduler_file(path: Path) -> Path | None:
    """The options of the scheduler: in a pipeline, beside the weights, or, for the network
    in a pipeline, in that pipeline.
    """
    places = [path / "scheduler" / FILE, path / FILE]
    if path.name in MODELS:
        places.append(path.parent / "scheduler" / FILE)
    return next((place for place in places if place.is_file()), None)


def _read_shards(index: Path) -> dict[str, np.ndarray]:
    """The tensors of an index, whose shards lie beside it."""
    places: Any = read_options(index).get("weight_map")
    found = {}
    with reading(index):
        is_map = isinstance(places, dict) and all(isinstance(x, str) for x in places.values())
        need(is_map, "it is no index of tensors")
        shards = sorted(set(places.values()))
        need(len(shards) <= MAX_SHARDS, f"it names {len(shards)} files")
        for shard in shards:
            is_inside = shard == Path(shard).name and shard.endswith(".safetensors")
            need_format(is_inside, f"{shard!r:.100} is no .safetensors file of its folder")
    for shard in shards:
        if not (index.parent / shard).is_file():
            raise FileNotFoundError(f"no {shard} in {index.parent}, which {index.name} names")
        tensors = _read_safetensors(index.parent / shard)
        with reading(index.parent / shard):
            for name in (name for name, place in places.items() if place == shard):
                need(name in tensors, f"it lacks {name}, which {index.name} says it has")
                found[name] = tensors[name]
    return found


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    data = path.read_bytes()
    with reading(path):
        return {name: _array(name, entry) for name, entry in entries_of(data)}


def _array(name: str, entry: Mapping[str, Any]) -> np.ndarray:
    kind, data, shape = entry["dtype"], entry["data"], entry["shape"]
    if kind == "BF16":
        # The upper halves of float32.
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
    need_format(
        kind in DTYPES, f"{name} is of the type {kind}, where weights are floating-point numbers"
    )
    return np.frombuffer(data, np.dtype(DTYPES[kind]).newbyteorder("<")).reshape(shape)
