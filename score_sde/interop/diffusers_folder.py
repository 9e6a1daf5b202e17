"""Folders of diffusers' ``UNet2DModel``, alone or in a pipeline: what they say of the
network, and its tensors.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, deserialize

from score_sde.interop.diffusers_network import read_network
from score_sde.interop.diffusers_scheduler import FILE, ve_fields, vp_sections
from score_sde.interop.torch_file import read_torch
from score_sde.runtime.bounded_reading import one_line, read_json

CONFIG, INDEX = "config.json", "model_index.json"

MODELS = ("unet_ema", "unet")
"""The folders of a network in a pipeline or a training checkpoint, averaged parameters first."""

SIGMA_MAX = {32: 50.0, 64: 90.0, 256: 348.0, 1024: 1348.0}
"""The greatest noise level of the published NCSN++ by the size of their images, where
there is no scheduler to ask.
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
"""The files that weights may be in: full precision first, pickles last."""

DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16}

MAX_SHARDS = 1000


class Diffusers(NamedTuple):
    """What a folder holds.

    Attributes:
        fields: the network, the SDE and the data as fields of a published config, for
            `config_from_reference`.
        options: options of the network that no published config has.
        sections: sections of the config that no published config has.
        tensors: the weights by their names there.
    """

    fields: dict[str, Any]
    options: dict[str, Any]
    sections: dict[str, dict[str, Any]]
    tensors: dict[str, np.ndarray]


def is_diffusers(folder: str | Path) -> bool:
    """Whether a folder is of diffusers: a model, or a pipeline or a training checkpoint
    that has one.
    """
    return _model_folder(Path(folder)) is not None


def read_diffusers(folder: str | Path, *, scheduler: bool = True) -> Diffusers:
    """Read a folder of diffusers: DDPM (``DownBlock2D``) or NCSN++
    (``SkipDownBlock2D``). Nothing in it is run.

    The scheduler is ``scheduler/scheduler_config.json`` of a pipeline or
    ``scheduler_config.json`` beside the weights. Where there is none, a warning says
    what is assumed. Without ``scheduler`` it is not looked for, and nothing is said of
    the noise process.

    Raises:
        OSError: where a file is missing.
        ValueError: in one line, where a file is damaged, or the network, the scheduler
            or the pipeline has an option that is unknown or not supported.
    """
    path = Path(folder)
    model = _model_folder(path)
    if model is None:
        raise ValueError(
            f"{path} is no folder of diffusers: it needs {CONFIG} of a UNet2DModel, or {INDEX}"
        )
    _check_pipeline(path)
    config, tensors = _read_json(model / CONFIG), read_weights(model)
    with _errors_in(model / CONFIG):
        network = read_network(config, len(tensors))
    if not scheduler:
        return Diffusers(network.fields, network.options, {}, tensors)
    file = _scheduler_file(path)
    options = None if file is None else _read_json(file)
    if file is None:
        assumed = (
            "VE with the published noise levels of its image size"
            if network.kind == "ncsnpp"
            else ASSUMED_VP
        )
        warnings.warn(
            f"{path} has no {FILE}, so the noise process is assumed: {assumed}", stacklevel=2
        )
    with _errors_in(file or path):
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
"""Fields that a published config must have, in sections that the scheduler's sections replace."""


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


def _model_folder(path: Path) -> Path | None:
    if (path / MODELS[0] / CONFIG).is_file():
        return path / MODELS[0]
    if (path / INDEX).is_file() and (path / MODELS[1] / CONFIG).is_file():
        return path / MODELS[1]
    return path if (path / CONFIG).is_file() and _is_model(path) else None


def _is_model(folder: Path) -> bool:
    """Whether the options or the weights are those of diffusers: others have a file of
    the options' name too.
    """
    return (
        any((folder / name).is_file() for name in WEIGHTS)
        or b'"_class_name"' in (folder / CONFIG).read_bytes()
    )


def _check_pipeline(path: Path) -> None:
    """Refuse a pipeline with other networks, such as latent diffusion, which generates
    in another space.
    """
    if not (path / INDEX).is_file():
        return
    parts = _read_json(path / INDEX)
    others = [
        name
        for name, value in parts.items()
        if isinstance(value, list) and name not in (*MODELS, "scheduler")
    ]
    if others := [name for name in others if any(parts[name])]:
        raise ValueError(
            f"{path / INDEX} has {', '.join(others)}: only pipelines of a network and a scheduler "
            "are read"
        )


def _scheduler_file(path: Path) -> Path | None:
    """The scheduler of a pipeline, or beside the weights; of a pipeline's own network,
    that of the pipeline.
    """
    places = [path / "scheduler" / FILE, path / FILE]
    if path.name in MODELS:
        places.append(path.parent / "scheduler" / FILE)
    return next((place for place in places if place.is_file()), None)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
    except ValueError:
        raise ValueError(f"{path} is damaged: it is no JSON") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged: it holds no options")
    return found


@contextmanager
def _errors_in(path: Path) -> Iterator[None]:
    """Turn errors from the options of a file into one line that names the file."""
    try:
        yield
    except KeyError as error:
        raise ValueError(f"{path} lacks {one_line(error)}") from None
    except (TypeError, AttributeError, IndexError, ZeroDivisionError, OverflowError) as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__})") from error
    except ValueError as error:
        raise ValueError(f"{path}: {one_line(error)}") from None


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
