"""A trained model from what is on disk."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from score_sde.builders import build_model, plain_config
from score_sde.experiment import Model
from score_sde.training import restore_for_sampling


def load(path: str | Path, *, step: int | None = None, config: ConfigDict | Mapping[str, Any] | None = None) -> Model:
    """The model of a training run: its averaged parameters, and the objects of the config saved with them.

    Args:
        path: the workdir of the run, its folder of checkpoints, or one checkpoint.
        step: which checkpoint; the latest unless given.
        config: a config to use in place of the saved one, as from ``saved_config`` with changes.

    Raises:
        FileNotFoundError: where there is no checkpoint.
        ValueError: where the checkpoint is damaged, or its parameters are not those of the config's network.
    """
    directory, named_step = _checkpoint_directory(Path(path))
    found = restore_for_sampling(directory, step=named_step if step is None else step)
    chosen = {**plain_config(found.config if config is None else config), "example": found.config["example"]}
    return build_model(chosen, found.ema_params, step=found.step)


def saved_config(path: str | Path, *, step: int | None = None) -> ConfigDict:
    """The resolved config that was saved with a checkpoint."""
    directory, named_step = _checkpoint_directory(Path(path))
    found = restore_for_sampling(directory, step=named_step if step is None else step)
    return ConfigDict(_with_tuples(found.config))


def _with_tuples(value: Any) -> Any:
    """A value from JSON with tuples for its lists, as configs have them and flags can change them."""
    if isinstance(value, Mapping):
        return {key: _with_tuples(item) for key, item in value.items()}
    return tuple(_with_tuples(item) for item in value) if isinstance(value, list) else value


def _checkpoint_directory(path: Path) -> tuple[Path, int | None]:
    """The folder of checkpoints, and the step if ``path`` is one of them."""
    if path.name.isdigit() and (path / "_CHECKPOINT_METADATA").exists():
        return path.parent, int(path.name)
    return (path, None) if path.name == "checkpoints" else (path / "checkpoints", None)
