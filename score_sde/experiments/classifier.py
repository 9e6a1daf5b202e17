"""A classifier of noisy examples, and the experiment that trains one."""

from dataclasses import dataclass
from typing import Any

import jax

from score_sde import checks
from score_sde.data import Augmentation, Example
from score_sde.experiments.base import AnyExperiment, Split, TrainedModel
from score_sde.models.wideresnet import Classifier, make_log_prob_fn
from score_sde.objectives.classification import LogProbFn, NoisyClassification
from score_sde.training import Context, LossFn
from score_sde.typing import Key, Params, Scalar, ScalarLike


@dataclass(frozen=True, kw_only=True, eq=False)
class NoisyClassifier(TrainedModel):
    """A trained classifier of noisy examples, for classifier guidance.

    Its ``sde`` is the SDE of the noise that it was trained on. ::

        classifier = ss.load("runs/classifier", ss.NoisyClassifier)
        log_probs = classifier.log_prob_fn(x, t)  # [num_classes]

    Attributes:
        network: the network, as pure functions of its parameters.
    """

    network: Classifier

    @property
    def log_prob_fn(self) -> LogProbFn:
        """``(x, t) -> log p(y | x_t = x)`` ``[num_classes]`` of one example ``x``."""
        return make_log_prob_fn(self.sde, self.network, self.params)


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassifierExperiment(AnyExperiment):
    """The training of a classifier of noisy examples, as `build` makes it from a config.

    For example::

        ss.train(ss.build(config, ss.ClassifierExperiment), "runs/classifier")

    Attributes:
        objective: the loss.
        augmentation: the augmentation of training examples, which keep their labels.

    Raises:
        ValueError: where the data have no labels, or labels outside the range of the
            network.
    """

    model: NoisyClassifier
    objective: NoisyClassification
    augmentation: Augmentation = Augmentation()  # noqa: RUF009 - a frozen value

    def __post_init__(self) -> None:
        self.objective.check(self.model.sde)
        labels = self.source.train_labels
        if labels is None or self.source.test_labels is None:
            raise ValueError("a classifier needs data with labels, and these have none")
        x, t = (jax.ShapeDtypeStruct(shape, "float32") for shape in (self.model.shape, ()))
        (num_classes,) = jax.eval_shape(self.model.log_prob_fn, x, t).shape
        least, largest = labels.min(), labels.max()
        checks.require(
            least >= 0 and largest < num_classes,
            f"model.num_classes={num_classes} takes labels from 0 to {num_classes - 1}, the data "
            f"have labels from {least} to {largest}",
        )

    def conditions(self, split: Split) -> Any:
        """The class of each example."""
        return self.source.conditions(split)

    def loss_fn(self, *, train: bool) -> LossFn:
        """``(params, key, u, raw example, context) -> (loss, {"accuracy": …})``; ``u``
        is not used.
        """
        model, augmentation = self.model, self.augmentation if train else Augmentation()

        def loss(
            params: Params, key: Key, u: ScalarLike, example: Example, context: Context
        ) -> tuple[Scalar, dict[str, Scalar]]:
            del u, context
            data_key, network_key, objective_key, augmentation_key = jax.random.split(key, 4)
            log_prob_fn = make_log_prob_fn(
                model.sde, model.network, params, key=network_key, train=train
            )
            x0 = model.scaling.to_model(data_key, augmentation(augmentation_key, example.x))
            value, accuracy = self.objective(
                objective_key, model.sde, log_prob_fn, x0, example.condition
            )
            return value, {"accuracy": accuracy}

        return loss
