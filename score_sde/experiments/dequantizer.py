"""A variational dequantizer for a score model, and the experiment that trains one."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Real

from score_sde import checks
from score_sde.data import Example
from score_sde.experiments.base import AnyExperiment, Split, TrainedModel
from score_sde.experiments.score_model import Model
from score_sde.likelihood.dequantization import Bins, Dequantizer, VariationalDequantizer
from score_sde.likelihood.estimators import VariationalEstimator, dequantized
from score_sde.likelihood.flow import bits_per_dim
from score_sde.models.coupling_flow import ConditionalFlow
from score_sde.sdes.base import SDE, starting_at
from score_sde.training import Context, LossFn
from score_sde.typing import Key, Params, SampleLike, Scalar, ScalarLike, ScoreFn


@dataclass(frozen=True, kw_only=True)
class VariationalDequantization:
    """The loss of a dequantizer: the negative variational bound of the discrete
    log-likelihood, in bits per dimension.

    It is ``-E [L(x) - log q(u | levels) + dim log width]`` with the bound ``L`` of the
    reverse SDE (Song, Durkan et al. 2021). The minimiser is the ``q`` closest to the
    density of the model in the bins, in ``KL(q || p)``.

    Attributes:
        num_times: times at which the score is evaluated for one example, as in
            `variational_bound`.
        num_decodings: decodings of one example, as in `variational_bound`.
    """

    num_times: int = 8
    num_decodings: int = 1

    def __post_init__(self) -> None:
        _ = self._estimator  # for its checks

    def __call__(
        self,
        key: Key,
        sde: SDE,
        score_fn: ScoreFn,
        dequantizer: Dequantizer,
        levels: SampleLike,
        bins: Bins,
    ) -> Scalar:
        """An unbiased estimate for one example."""
        options = {"estimator": self._estimator, "dequantizer": dequantizer, "bins": bins}
        return bits_per_dim(
            dequantized(key, sde, score_fn, levels, **options).log_prob,
            jnp.size(levels),
            bin_width=1.0,
        )

    @property
    def _estimator(self) -> VariationalEstimator:
        return VariationalEstimator(num_times=self.num_times, num_decodings=self.num_decodings)


@dataclass(frozen=True, kw_only=True, eq=False)
class LearnedDequantizer(TrainedModel):
    """A trained variational dequantizer of a score model, which shares its ``sde``.

    For example::

        learned = ss.load("runs/digits/dequantizer", ss.LearnedDequantizer)
        dequantizer = learned.dequantizer

    Attributes:
        network: the flow, as pure functions of its parameters.
    """

    network: ConditionalFlow

    @property
    def dequantizer(self) -> VariationalDequantizer:
        """The density of dequantization noise in the bins of one example."""
        return self.dequantizer_of(self.params)

    def dequantizer_of(self, params: Params) -> VariationalDequantizer:
        """The dequantizer with parameters ``params``."""
        return VariationalDequantizer(flow=self._flow, params=params)

    def _flow(
        self, params: Params, noise: Float[Array, "*shape"], levels: Real[Array, "*shape"]
    ) -> tuple[Float[Array, "*shape"], Scalar]:
        z, log_det = self.network.apply(
            params, noise[None], self.scaling.bins.at(levels, 0.5)[None]
        )
        return z[0], log_det[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class DequantizerExperiment(AnyExperiment):
    """The training of a variational dequantizer, as `build` makes it from a config.

    For example::

        model = ss.load("runs/digits")
        experiment = ss.build(config, ss.DequantizerExperiment, score_model=model)

    Attributes:
        score_model: the score model whose likelihood bound the dequantizer tightens.
            Its parameters do not change.
        objective: the loss.

    Raises:
        ValueError: where the data are continuous.
    """

    score_model: Model
    model: LearnedDequantizer
    objective: VariationalDequantization

    @property
    def frozen(self) -> Params:
        """The parameters of the score model."""
        return self.score_model.params

    def __post_init__(self) -> None:
        checks.require(
            self.source.num_levels is not None,
            "a dequantizer needs discrete data, and these are continuous",
        )

    def conditions(self, split: Split) -> Any:
        """The conditions of the score model."""
        return self.score_model.conditions_of(self.source, split)

    def loss_fn(self, *, train: bool) -> LossFn:
        """``(params, key, u, raw example, context) -> (bits/dim, {})``; the context's
        frozen parameters are those of the score model.
        """
        del train  # the flow has no dropout
        model, score_model = self.model, self.score_model
        sde = starting_at(score_model.sde, score_model.evaluating.t_min)

        def loss(
            params: Params, key: Key, u: ScalarLike, example: Example, context: Context
        ) -> tuple[Scalar, dict[str, Scalar]]:
            del u
            score_fn = score_model.score_fn_of(context.frozen, example.condition)
            dequantizer, bins = model.dequantizer_of(params), model.scaling.bins
            return self.objective(key, sde, score_fn, dequantizer, example.x, bins), {}

        return loss
