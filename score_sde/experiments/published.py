"""Checkpoints of other projects, and the published configs whose networks they may hold."""

from pathlib import Path

from score_sde.configs.paper import PARAMETERS
from score_sde.experiments.builders import Config
from score_sde.experiments.loading import load
from score_sde.experiments.score_model import Model
from score_sde.interop.foreign import count_parameters


def load_published(checkpoint: Path, config: Config) -> Model:
    """The model; where the checkpoint does not fit, the error says which published config might."""
    try:
        return load(checkpoint, config=config)
    except ValueError as error:
        if checkpoint.is_dir():
            raise
        try:
            count = count_parameters(checkpoint)
        except ValueError:
            raise error from None
        raise ValueError(f"{error}{nearest_config(count)}") from error


def nearest_config(count: int) -> str:
    """The published configs whose networks have this many parameters, or the nearest one."""
    same = [name for name, parameters in PARAMETERS.items() if parameters == count]
    if same:
        return f"; the file's {count:,} parameters are those of {', '.join(same)}"
    name = min(PARAMETERS, key=lambda name: abs(PARAMETERS[name] - count))
    return (
        f"; the file has {count:,} parameters, the nearest published config {name} has "
        f"{PARAMETERS[name]:,}"
    )
