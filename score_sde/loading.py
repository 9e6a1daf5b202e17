"""A trained model from what is on disk."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from score_sde.builders import (
    Config,
    ConfigDict,
    as_mapping,
    build_classifier_model,
    build_dequantizer_model,
    build_model,
    construct,
    plain_config,
)
from score_sde.classifier import NoisyClassifier
from score_sde.configs.default import get_default_config
from score_sde.dequantizer import LearnedDequantizer
from score_sde.experiment import Model
from score_sde.interop.diffusers_folder import Diffusers, is_diffusers, read_diffusers
from score_sde.interop.diffusers_names import params_from_diffusers
from score_sde.interop.exported import is_exported, read_exported
from score_sde.interop.foreign import read_foreign
from score_sde.interop.reference_config import sections_of_reference
from score_sde.models import ScoreNetwork
from score_sde.training import SamplingCheckpoint, restore_for_sampling


def load(
    path: str | Path, *, step: int | None = None, config: Config | None = None, average: str | None = None
) -> Model:
    """A trained model: its averaged parameters, and the objects of its config.

    Args:
        path: the workdir of a run, its folder of checkpoints, or one checkpoint; the folder of an exported model, or of
            a ``UNet2DModel`` of diffusers (DDPM or NCSN++), alone or in a pipeline; or, with ``config``, a checkpoint
            of Score-SDE (PyTorch ``.pth`` or JAX), ScoreFlow, NCSN or NCSNv2. No code is run from any of these.
        step: which checkpoint; the latest unless given.
        config: a config to use in place of the saved one, as from ``saved_config`` with changes, or from
            `config_from_reference`.
        average: which of ``training.averages``, such as ``"power:0.05"``; that of ``training.ema_decay`` unless given.

    Raises:
        FileNotFoundError: where there is no checkpoint.
        ValueError: where the checkpoint is damaged, its parameters are not those of the config's network, or the run
            has no such average.
    """
    path = Path(path)
    if average is not None and (is_exported(path) or is_diffusers(path) or path.is_file()):
        raise ValueError(f"{path} has one average of its parameters, and no {average!r}: a run's checkpoints have more")
    if is_diffusers(path):
        return _load_diffusers(path, config)
    if path.is_file():
        if config is None:
            raise ValueError(f"{path} does not say what it holds: give its config, as load(path, config=...)")
        return _load_foreign(path, plain_config(config))
    found = _saved(path, step, average)
    chosen = {**plain_config(found.config if config is None else config), "example": found.config["example"]}
    return build_model(chosen, found.ema_params, step=found.step)


def load_classifier(path: str | Path, *, step: int | None = None, config: Config | None = None) -> NoisyClassifier:
    """A trained classifier of noisy examples, from the workdir of its run, as `load` does for a score model."""
    found = _saved(Path(path), step)
    chosen = {**plain_config(found.config if config is None else config), "example": found.config["example"]}
    return build_classifier_model(chosen, found.ema_params, step=found.step)


def load_dequantizer(path: str | Path, *, step: int | None = None) -> LearnedDequantizer:
    """A learned dequantizer, from the folder that ``score-sde train-dequantizer`` has trained it in."""
    found = _saved(Path(path), step)
    return build_dequantizer_model(found.config, found.ema_params, step=found.step)


def saved_config(path: str | Path, *, step: int | None = None) -> ConfigDict:
    """The resolved config that was saved with a checkpoint or an exported model, or that a diffusers folder tells."""
    if is_diffusers(path):
        return _config_of_diffusers(read_diffusers(path))
    return ConfigDict(_with_tuples(_saved(Path(path), step).config))


def config_from_reference(fields: Config) -> ConfigDict:
    """A config of this package from the fields of a config of the 2021 code (Score-SDE in JAX or PyTorch).

    Args:
        fields: ``{"model.ch_mult": [1, 2, 2, 2], "training.sde": "vesde", …}``, or the config itself with its
            sections nested. What it leaves out keeps the default of this package.

    Raises:
        ValueError: where a needed field is missing, or a value or a field of ``model`` is unknown.
    """
    plain = as_mapping(fields)
    sections = {name: values for name, values in plain.items() if isinstance(values, Mapping)}
    flat = {f"{section}.{key}": value for section, values in sections.items() for key, value in values.items()}
    config = get_default_config()
    config.seed = plain.get("seed", config.seed)
    for section, values in sections_of_reference({**plain, **flat}).items():
        if section in config and "name" not in values and section != "data":
            config[section].update(values)
        else:
            config[section] = ConfigDict(values)
    return config


def _with_tuples(value: Any) -> Any:
    """A value from JSON with tuples for its lists, as configs have them and flags can change them."""
    if isinstance(value, Mapping):
        return {key: _with_tuples(item) for key, item in value.items()}
    return tuple(_with_tuples(item) for item in value) if isinstance(value, list) else value


def _load_foreign(path: Path, config: dict[str, Any]) -> Model:
    if "example" not in config:
        raise ValueError("the config needs the section example, with the shape of an image and its num_levels")
    shape = tuple(config["example"]["shape"])
    network = construct("model", ScoreNetwork, config["model"], shape=shape)
    options = {key: value for key, value in config["model"].items() if key != "name"}
    found = read_foreign(path, network, name=config["model"]["name"], options=options, shape=shape)
    return build_model(config, found.params, step=found.step)


def _load_diffusers(path: Path, given: Config | None) -> Model:
    found = read_diffusers(path, scheduler=given is None)
    config = plain_config(_config_of_diffusers(found) if given is None else given)
    try:
        network = construct("model", ScoreNetwork, config["model"], shape=tuple(config["example"]["shape"]))
        params = params_from_diffusers(network, found.tensors)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return build_model(config, params, step=0)


def _config_of_diffusers(found: Diffusers) -> ConfigDict:
    config = config_from_reference(found.fields)
    config.model.update(found.options)
    for name, values in found.sections.items():
        section: Any = config[name]
        config[name] = ConfigDict(values if "name" in values else {**section, **values})
    return config


def _saved(path: Path, step: int | None, average: str | None = None) -> SamplingCheckpoint:
    """The parameters and the config in an exported model, or in a checkpoint of a run."""
    if not is_exported(path):
        directory, named_step = _checkpoint_directory(path)
        return restore_for_sampling(directory, step=named_step if step is None else step, average=average)
    found = read_exported(path)
    if step not in (None, found.step):
        raise FileNotFoundError(f"no checkpoint of step {step} in {path}: it is a model exported at step {found.step}")
    return SamplingCheckpoint(step=found.step, ema_params=found.params, config=found.config)


def _checkpoint_directory(path: Path) -> tuple[Path, int | None]:
    """The folder of checkpoints, and the step if ``path`` is one of them."""
    if path.name.isdigit() and (path / "_CHECKPOINT_METADATA").exists():
        return path.parent, int(path.name)
    return (path, None) if path.name == "checkpoints" else (path / "checkpoints", None)
