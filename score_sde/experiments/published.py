"""Checkpoints of other projects, and the published config that fits one."""

from pathlib import Path

from score_sde.configs.paper import PARAMETERS
from score_sde.experiments.builders import Config
from score_sde.experiments.loading import load
from score_sde.experiments.score_model import Model
from score_sde.interop.foreign import count_parameters


def load_published(checkpoint: Path, config: Config) -> Model:
    """The model of a checkpoint. Where its parameters do not fit the config, the error
    names the published config whose network has as many.
    """
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
    """The published configs with this number of parameters, or the nearest one, as the
    end of a message.
    """
    same = [name for name, parameters in PARAMETERS.items() if parameters == count]
    if same:
        return f"; the file has {count:,} parameters, as {', '.join(same)}"
    name = min(PARAMETERS, key=lambda name: abs(PARAMETERS[name] - count))
    return (
        f"; the file has {count:,} parameters, the nearest published config {name} has "
        f"{PARAMETERS[name]:,}"
    )
