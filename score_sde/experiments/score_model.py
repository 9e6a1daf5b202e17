"""A score model, as a config describes it: to train, and to draw from."""

from dataclasses import dataclass

import jax
from jaxtyping import Array

from score_sde.data import Augmentation
from score_sde.experiments.base import AnyExperiment, TrainedModel
from score_sde.experiments.settings import Drawing, Evaluating
from score_sde.models.base import ScoreNetwork, make_score_fn
from score_sde.models.labels import check_labels
from score_sde.objectives import NoiseLevels, ScoreMatching
from score_sde.parameterization import Parameterization
from score_sde.sampling import Sampler
from score_sde.sdes import SDE
from score_sde.training import LossFn
from score_sde.typing import Key, Params, Scalar, ScalarLike, ScoreFn


@dataclass(frozen=True, kw_only=True, eq=False)
class Model(TrainedModel):
    """A score model and everything a script needs to draw from it, besides what every
    `TrainedModel` has.

    Attributes:
        network: the network, as pure functions of its parameters.
        parameterization: what the network predicts.
        sampler: the sampler of the config.
        drawing: how many samples are asked for, and how.
        evaluating: how likelihoods are computed.
    """

    network: ScoreNetwork
    parameterization: Parameterization
    sampler: Sampler
    drawing: Drawing
    evaluating: Evaluating

    def __post_init__(self) -> None:
        check_labels(self.sde, self.network.labels, self.parameterization, first=self.sde.t_min)
        evaluating = self.evaluating
        _before_end("eval.t_min", evaluating.t_min, self.sde)
        evaluating.estimator.check_model(self.sde, self.parameterization)
        if (
            self.scaling.num_levels is not None
            and evaluating.dequantizer is None
            and evaluating.bound is None
        ):
            raise ValueError(
                "eval.dequantizer none needs eval.bound: the probability flow has a density, and "
                "no probabilities"
            )

    @property
    def score_fn(self) -> ScoreFn:
        """The score ``(x, t) -> grad_x log p_t(x)`` of one sample."""
        return self.score_fn_of(self.params)

    def score_fn_of(self, params: Params) -> ScoreFn:
        """The score with other parameters, for functions that take them as an argument."""
        return make_score_fn(self.sde, self.network, self.parameterization, params)


@dataclass(frozen=True, kw_only=True, eq=False)
class Experiment(AnyExperiment):
    """Everything that a config chooses, ready to train: what `AnyExperiment` has, and more.

    ``objective`` is the loss, ``augmentation`` what training does to the examples
    first.
    """

    model: Model
    objective: ScoreMatching
    augmentation: Augmentation = Augmentation()  # noqa: RUF009 - a frozen value

    def __post_init__(self) -> None:
        model, objective = self.model, self.objective
        objective.check(model.sde)
        first = objective.times.first(model.sde)
        check_labels(
            model.sde, model.network.labels, model.parameterization, first=first, trained=True
        )

    def loss_fn(self, *, train: bool) -> LossFn:
        """``(params, key, u, raw example) -> (loss, loss by noise level)``.

        Augmentation (in training), scaling, dequantisation, network and objective in
        one; ``u`` decides the time where the objective is stratified.
        """
        model, objective = self.model, self.objective
        augmentation = self.augmentation if train else Augmentation()
        levels = NoiseLevels.of(model.sde, objective.times)

        def loss(
            params: Params, key: Key, u: ScalarLike, example: Array
        ) -> tuple[Scalar, dict[str, Scalar]]:
            data_key, network_key, objective_key, augmentation_key = jax.random.split(key, 4)
            score_fn = make_score_fn(
                model.sde,
                model.network,
                model.parameterization,
                params,
                key=network_key,
                train=train,
            )
            x0 = model.scaling.to_model(data_key, augmentation(augmentation_key, example))
            time_key, noise_key = jax.random.split(objective_key)
            t, weight = objective.times(
                u if objective.stratified else jax.random.uniform(time_key), model.sde
            )
            value = objective.at_time(noise_key, model.sde, score_fn, x0, t)
            return weight * value, levels.sort(value, model.sde.log_snr(t))

        return loss


def _before_end(name: str, t_min: float, sde: SDE) -> None:
    if not t_min < sde.t_max:
        raise ValueError(f"{name}={t_min} must be less than sde.t_max={sde.t_max}")
