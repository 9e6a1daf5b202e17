"""What the models of every kind have, and the experiments that train them."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optax

from score_sde.data import DataSource, Scaling
from score_sde.experiments.settings import Training
from score_sde.sdes import SDE
from score_sde.training import LossFn
from score_sde.typing import Params


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
        config: the resolved config, as plain values.
    """

    sde: SDE
    params: Params
    shape: tuple[int, ...]
    scaling: Scaling
    seed: int
    step: int
    config: Mapping[str, Any]


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
    training: Training

    @abc.abstractmethod
    def loss_fn(self, *, train: bool) -> LossFn:
        """The loss of one example."""

    @property
    def frozen(self) -> Params | None:
        """Parameters that the loss takes and training does not change, if there are any."""
        return None
