"""The base classes of models and experiments of every kind."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import jax
import optax

from score_sde.data import DataSource, Scaling
from score_sde.experiments.settings import TrainingOptions
from score_sde.sdes import SDE
from score_sde.training import LossFn
from score_sde.typing import Key, Params

Split: TypeAlias = Literal["train", "test"]
"""The name of a split of the data."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedModel:
    """A trained model of any kind: a score model, a classifier or a dequantizer.

    For example::

        ss.load("runs/digits").save("exported/digits")

    Attributes:
        sde: the forward SDE.
        params: the averaged parameters.
        shape: the shape of one example.
        scaling: the map between data units and model space: ``to_model``, ``to_data``
            and ``log_det``. Scores, samples and latents are in model space.
        seed: the seed of the config.
        step: number of training steps.
        config: the resolved config as plain values; None for a model made of objects
            that a config cannot name.
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
        """The config, which must be there.

        Raises:
            ValueError: where the model has no config.
        """
        if self.config is None:
            raise ValueError(
                "this needs a model with a config, as build and load make it: this one is made of "
                "objects that a config cannot name"
            )
        return self.config


@dataclass(frozen=True, kw_only=True, eq=False)
class AnyExperiment(abc.ABC):
    """The training of a model of any kind: the model, its data and its optimizer.

    For example::

        ss.train(ss.build(config), "runs/digits")

    Attributes:
        model: the model with its initial parameters.
        source: the data.
        optimizer: an optax transformation.
        training: the settings of the section ``training``.
        skip_damaged: whether training replaces damaged examples in files by others,
            ``data.skip_damaged``; else it stops at the first.
    """

    model: TrainedModel
    source: DataSource
    optimizer: optax.GradientTransformation
    training: TrainingOptions
    skip_damaged: bool = False

    @abc.abstractmethod
    def loss_fn(self, *, train: bool) -> LossFn:
        """The loss of one example."""

    def conditions(self, split: Split) -> Any:
        """The conditions of the examples of a split, a pytree of arrays ``[n, ...]``;
        None for a loss of the examples alone.
        """
        del split
        return None

    @property
    def frozen(self) -> Params | None:
        """Parameters that the loss takes and training does not change; None for none."""
        return None


def initial_params(network: Any, key: Key) -> Params:
    """The parameters that ``network.init`` draws, by one compiled program.

    It runs once: on a CPU, XLA's first level of optimisation halves the time to compile it.
    """
    options = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
    return jax.block_until_ready(jax.jit(network.init, compiler_options=options)(key))
