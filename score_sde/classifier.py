"""A classifier of noisy examples, as a config describes it: to train, and to guide samples with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import optax
from jaxtyping import Array

from score_sde.data import DataSource, Scaling
from score_sde.experiment import Training
from score_sde.models.wideresnet import Classifier, make_log_prob_fn
from score_sde.objectives.classification import LogProbFn, NoisyClassification
from score_sde.sdes import SDE
from score_sde.training import LossFn
from score_sde.typing import Key, Params, Scalar, ScalarLike


@dataclass(frozen=True, kw_only=True, eq=False)
class NoisyClassifier:
    """A classifier and everything a script needs to guide samples with it.

    Attributes:
        sde: the forward SDE whose noise it knows.
        network: the network, as pure functions of its parameters.
        params: the averaged parameters.
        shape: the shape of one example.
        scaling: the map between data levels and model space.
        seed: the seed of the config.
        step: after how many training steps the parameters were saved.
        config: the resolved config, as plain values.
    """

    sde: SDE
    network: Classifier
    params: Params
    shape: tuple[int, ...]
    scaling: Scaling
    seed: int
    step: int
    config: Mapping[str, Any]

    @property
    def log_prob_fn(self) -> LogProbFn:
        """``(x, t) -> log p(y | x_t = x)`` for every class ``y``, of one example."""
        return make_log_prob_fn(self.sde, self.network, self.params)


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassifierExperiment:
    """Everything that the config of a classifier chooses, ready to train.

    Attributes:
        model: the classifier with its initial parameters.
        source: the data, with the class of each example.
        objective: the loss.
        optimizer: an optax transformation.
        training: how long, how often, how much.
    """

    model: NoisyClassifier
    source: DataSource
    objective: NoisyClassification
    optimizer: optax.GradientTransformation
    training: Training

    def __post_init__(self) -> None:
        labels = self.source.train_labels
        if labels is None or self.source.test_labels is None:
            raise ValueError("a classifier needs data with labels, and these have none")
        x, t = (jax.ShapeDtypeStruct(shape, "float32") for shape in (self.model.shape, ()))
        (num_classes,) = jax.eval_shape(self.model.log_prob_fn, x, t).shape
        if labels.min() < 0 or labels.max() >= num_classes:
            found = f"labels from {labels.min()} to {labels.max()}"
            raise ValueError(
                f"model.num_classes={num_classes} takes labels from 0 to {num_classes - 1}, the data have {found}"
            )

    def loss_fn(self, *, train: bool) -> LossFn:
        """``(params, key, u, raw example, label) -> (loss, {"accuracy": …})``; ``u`` is not used."""
        model = self.model

        def loss(
            params: Params, key: Key, u: ScalarLike, example: Array, label: Array
        ) -> tuple[Scalar, dict[str, Scalar]]:
            del u
            data_key, network_key, objective_key = jax.random.split(key, 3)
            log_prob_fn = make_log_prob_fn(model.sde, model.network, params, key=network_key, train=train)
            x0 = model.scaling.to_model(data_key, example)
            value, accuracy = self.objective(objective_key, model.sde, log_prob_fn, x0, label)
            return value, {"accuracy": accuracy}

        return loss
