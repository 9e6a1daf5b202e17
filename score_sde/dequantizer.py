"""A learned dequantizer, as a config describes it: to train for a score model, and to evaluate likelihoods with."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import optax
from jaxtyping import Array, Float, Real

from score_sde.data import DataSource, Scaling
from score_sde.dequantization import Bins, Dequantizer, VariationalDequantizer
from score_sde.estimators import VariationalEstimator, dequantized
from score_sde.experiment import Model, Training
from score_sde.models.coupling_flow import ConditionalFlow
from score_sde.sdes import SDE
from score_sde.training import LossFn
from score_sde.typing import Key, Params, Scalar, ScalarLike, ScoreFn


@dataclass(frozen=True, kw_only=True)
class VariationalDequantization:
    """Minus the variational bound of the log probability of levels, in bits per dimension, as the dequantizer has it.

    ``-E [L(x) - log q(u | levels) + dim log width]`` with the bound ``L`` of the reverse SDE (Song, Durkan, Murray and
    Ermon 2021): its minimiser is the ``q`` nearest to the density of the model on the bins, in ``KL(q || p)``.

    ``num_times``, ``num_decodings``: evaluations of the score for one example, as in `variational_bound`.
    """

    num_times: int = 8
    num_decodings: int = 1

    def __post_init__(self) -> None:
        VariationalEstimator(num_times=self.num_times, num_decodings=self.num_decodings)

    def __call__(
        self,
        key: Key,
        sde: SDE,
        score_fn: ScoreFn,
        dequantizer: Dequantizer,
        levels: Real[Array, "*shape"],
        bins: Bins,
    ) -> Scalar:
        """An unbiased estimate for one example."""
        estimator = VariationalEstimator(num_times=self.num_times, num_decodings=self.num_decodings)
        found = dequantized(key, sde, score_fn, levels, estimator=estimator, dequantizer=dequantizer, bins=bins)
        return -found.log_prob / (levels.size * math.log(2.0))


@dataclass(frozen=True, kw_only=True, eq=False)
class LearnedDequantizer:
    """A dequantizer and what it is made of.

    Attributes:
        sde: the forward SDE of its score model.
        network: the flow, as pure functions of its parameters.
        params: the averaged parameters.
        shape: the shape of one example.
        scaling: the map between data levels and model space.
        seed: the seed of the config.
        step: after how many training steps the parameters were saved.
        config: the resolved config, as plain values.
    """

    sde: SDE
    network: ConditionalFlow
    params: Params
    shape: tuple[int, ...]
    scaling: Scaling
    seed: int
    step: int
    config: Mapping[str, Any]

    @property
    def dequantizer(self) -> VariationalDequantizer:
        """The density on the bins of one example."""
        return self.dequantizer_of(self.params)

    def dequantizer_of(self, params: Params) -> VariationalDequantizer:
        """That of other parameters."""
        return VariationalDequantizer(flow=self._flow, params=params)

    def _flow(
        self, params: Params, noise: Float[Array, "*shape"], levels: Real[Array, "*shape"]
    ) -> tuple[Float[Array, "*shape"], Scalar]:
        z, log_det = self.network.apply(params, noise[None], self.scaling.bins.at(levels, 0.5)[None])
        return z[0], log_det[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class DequantizerExperiment:
    """Everything that the config of a dequantizer chooses, ready to train.

    Attributes:
        score_model: the score model whose bound it is to raise, which stays as it is.
        model: the dequantizer with its initial parameters.
        source: the data.
        objective: the loss.
        optimizer: an optax transformation.
        training: how long, how often, how much.
    """

    score_model: Model
    model: LearnedDequantizer
    source: DataSource
    objective: VariationalDequantization
    optimizer: optax.GradientTransformation
    training: Training

    def __post_init__(self) -> None:
        if self.source.num_levels is None:
            raise ValueError("a dequantizer needs data with levels, and these are continuous")

    def loss_fn(self, *, train: bool) -> LossFn:
        """``(params, key, u, raw example, frozen=parameters of the score model) -> (bits/dim, {})``."""
        del train  # nothing is dropped out
        model, score_model = self.model, self.score_model
        sde = replace(score_model.sde, t_min=score_model.evaluating.t_min)  # pyright: ignore[reportArgumentType] - every SDE is a dataclass

        def loss(
            params: Params, key: Key, u: ScalarLike, example: Array, *, frozen: Params
        ) -> tuple[Scalar, dict[str, Scalar]]:
            del u
            dequantizer, score_fn = model.dequantizer_of(params), score_model.score_fn_of(frozen)
            return self.objective(key, sde, score_fn, dequantizer, example, model.scaling.bins), {}

        return loss
