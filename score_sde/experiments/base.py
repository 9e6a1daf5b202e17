"""What the models of every kind have, and the experiments that train them."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import optax

from score_sde.data import DataSource, Scaling
from score_sde.experiments.settings import TrainingOptions
from score_sde.sdes import SDE
from score_sde.training import LossFn
from score_sde.typing import Params

Split: TypeAlias = Literal["train", "test"]
"""A split of the data."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedModel:
    """What a model has that training has made, of whatever kind.

    Attributes:
        sde: the forward SDE.
        params: the averaged parameters.
        shape: the shape of one example.
        scaling: the map between data and model space: ``to_model``, ``to_data``, and
            ``log_det`` of densities. Score, samplers and likelihoods live in model
            space.
        seed: the seed of the config.
        step: after how many training steps the parameters were saved.
        config: the resolved config, as plain values; None for a model that was made
            without one.
    """

    sde: SDE
    params: Params
    shape: tuple[int, ...]
    scaling: Scaling
    seed: int
    step: int
    config: Mapping[str, Any] | None

    @property
    def saved_config(self) -> Mapping[str, Any]:
        """The config, for what cannot be done without.

        Raises:
            ValueError: in one line, where the model was made without one.
        """
        if self.config is None:
            raise ValueError(
                "this needs a model with a config, as build and load make it: this one is made of "
                "objects that no config names"
            )
        return self.config


@dataclass(frozen=True, kw_only=True, eq=False)
class AnyExperiment(abc.ABC):
    """What a config chooses for training, of whatever kind.

    Attributes:
        model: the model with its initial parameters.
        source: the data.
        optimizer: an optax transformation.
        training: how long, how often, how much.
    """

    model: TrainedModel
    source: DataSource
    optimizer: optax.GradientTransformation
    training: TrainingOptions

    @abc.abstractmethod
    def loss_fn(self, *, train: bool) -> LossFn:
        """The loss of one example."""

    def conditions(self, split: Split) -> Any:
        """What comes with each example of a split besides its values, a pytree of arrays
        ``[n, ...]``; None where the loss takes nothing else.
        """
        del split
        return None

    @property
    def frozen(self) -> Params | None:
        """Parameters that the loss takes and training does not change, if there are any."""
        return None
