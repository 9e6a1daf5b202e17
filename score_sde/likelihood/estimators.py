"""Estimators of the log-likelihood of data, of one form: by the probability flow, or by
a variational bound.
"""

import abc
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, Shaped

from score_sde.divergence import Divergence, Hutchinson
from score_sde.likelihood.bound import VariationalBound, check_draws, variational_bound
from score_sde.likelihood.dequantization import Bins, Dequantizer, log_mean_exp, log_weights
from score_sde.likelihood.discrete_bound import ddpm_vlb, step_costs
from score_sde.likelihood.flow import log_likelihood
from score_sde.parameterization import DiscreteNoisePrediction, Parameterization, StepIndex
from score_sde.renamed import renamed
from score_sde.sdes import SDE, DiscreteMarginals, ddpm_marginals
from score_sde.solvers import marginals_at
from score_sde.typing import Key, Scalar, ScoreFn


class LogProbEstimate(NamedTuple):
    """What is known of one log-likelihood.

    ``log_prob``: nats, over all dimensions. ``std_error``: of ``log_prob`` over what
    was drawn at random given the sample; NaN where it cannot be known.
    ``solver_error``: how far the tolerance moved it; NaN where that was not asked for
    or there is no solve. ``nfe``: evaluations of the score.
    """

    log_prob: Scalar
    std_error: Scalar
    solver_error: Scalar
    nfe: Int[Array, ""]


class Estimator(abc.ABC):
    """How the log-likelihood of one sample is estimated."""

    def check(self, parameterization: Parameterization) -> None:  # noqa: B027 - most take any
        """Raise ``ValueError`` unless it can be applied to models of this parameterisation."""

    def check_model(self, sde: SDE, parameterization: Parameterization) -> None:
        """Raise ``ValueError`` unless it can be applied to models of this SDE and
        parameterisation.
        """
        del sde
        self.check(parameterization)

    @abc.abstractmethod
    def density(
        self, key: Key, sde: SDE, score_fn: ScoreFn, x: Shaped[ArrayLike, "*shape"]
    ) -> LogProbEstimate:
        """The log density of ``x``, in model units."""

    def probability(
        self,
        key: Key,
        sde: SDE,
        score_fn: ScoreFn,
        levels: Shaped[ArrayLike, "*shape"],
        bins: Bins,
        num_levels: int,
    ) -> LogProbEstimate:
        """The log probability of levels without any dequantisation.

        Raises:
            ValueError: where there is only a density.
        """
        del key, sde, score_fn, levels, bins, num_levels
        raise ValueError("this estimates densities only: data with levels need a dequantizer")


@dataclass(frozen=True, kw_only=True)
class FlowEstimator(Estimator):
    """The exact log density under the probability-flow ODE, as `log_likelihood` has it."""

    divergence: Divergence = Hutchinson()  # noqa: RUF009 - a frozen value
    rtol: float = 1e-5
    atol: float = 1e-5
    check_tolerance: bool = False

    def density(
        self, key: Key, sde: SDE, score_fn: ScoreFn, x: Shaped[ArrayLike, "*shape"]
    ) -> LogProbEstimate:
        """The log density at ``sde.t_min``."""
        options = {"rtol": self.rtol, "atol": self.atol, "check_tolerance": self.check_tolerance}
        found = log_likelihood(key, sde, score_fn, x, divergence=self.divergence, **options)
        return LogProbEstimate(found.log_prob, found.std_error, found.solver_error, found.nfe)


@dataclass(frozen=True, kw_only=True)
class BoundEstimator(Estimator):
    """A variational lower bound, of a density or, with the decoder summed up over each
    bin, of a probability.
    """

    num_decodings: int = 4
    chunk_size: int | None = None

    def density(
        self, key: Key, sde: SDE, score_fn: ScoreFn, x: Shaped[ArrayLike, "*shape"]
    ) -> LogProbEstimate:
        """The bound of the log density."""
        return self._estimate(self.bound(key, sde, score_fn, x))

    def probability(
        self,
        key: Key,
        sde: SDE,
        score_fn: ScoreFn,
        levels: Shaped[ArrayLike, "*shape"],
        bins: Bins,
        num_levels: int,
    ) -> LogProbEstimate:
        """The bound of the log probability of levels."""
        borders = {
            "bin_width": bins.width,
            "data_range": (bins.low, bins.low + num_levels * bins.width),
        }
        return self._estimate(self.bound(key, sde, score_fn, bins.at(levels, 0.5), **borders))

    @abc.abstractmethod
    def bound(
        self, key: Key, sde: SDE, score_fn: ScoreFn, x: Shaped[ArrayLike, "*shape"], **borders: Any
    ) -> VariationalBound:
        """The bound, where ``borders`` are ``bin_width`` and ``data_range`` or none."""

    @property
    @abc.abstractmethod
    def num_draws(self) -> int:
        """Evaluations of the score for the diffusion cost."""

    def _estimate(self, found: VariationalBound) -> LogProbEstimate:
        nothing = jnp.full((), jnp.nan, found.log_prob.dtype)
        return LogProbEstimate(
            found.log_prob,
            found.std_error,
            nothing,
            jnp.asarray(self.num_draws + self.num_decodings),
        )


@dataclass(frozen=True, kw_only=True)
class VariationalEstimator(BoundEstimator):
    """The bound of the reverse SDE, as `variational_bound` has it."""

    num_times: int = 128

    def __post_init__(self) -> None:
        check_draws(self.chunk_size, num_times=self.num_times, num_decodings=self.num_decodings)

    @property
    def num_draws(self) -> int:
        """The times."""
        return self.num_times

    def bound(
        self, key: Key, sde: SDE, score_fn: ScoreFn, x: Shaped[ArrayLike, "*shape"], **borders: Any
    ) -> VariationalBound:
        """The bound at ``sde.t_min``."""
        options = {
            "num_times": self.num_times,
            "num_decodings": self.num_decodings,
            "chunk_size": self.chunk_size,
        }
        return variational_bound(key, sde, score_fn, x, **options, **borders)


@renamed(num_levels="num_terms")
@dataclass(frozen=True, kw_only=True)
class DDPMEstimator(BoundEstimator):
    """The bound of the ancestral chain of a discrete DDPM model, as `ddpm_vlb` has it.

    ``num_scales``, ``beta_min`` and ``beta_max`` are those of the model, as of
    ``DiscreteNoisePrediction``, or of a `DiscreteVPSDE` with linear betas from
    ``beta_min / num_scales`` to ``beta_max / num_scales``. Of the levels, all are taken
    or ``num_terms``.
    """

    num_scales: int = 1000
    beta_min: float = 0.1
    beta_max: float = 20.0
    variance: Literal["fixedsmall", "fixedlarge"] = "fixedsmall"
    num_terms: int | None = None

    def __post_init__(self) -> None:
        step_costs(self._marginals, self.variance)
        check_draws(self.chunk_size, num_terms=self.num_draws, num_decodings=self.num_decodings)
        if self.num_draws >= self.num_scales:
            raise ValueError(
                f"num_terms={self.num_terms} must be less than num_scales={self.num_scales}"
            )

    @property
    def num_draws(self) -> int:
        """The levels."""
        return self.num_scales - 1 if self.num_terms is None else self.num_terms

    def check(self, parameterization: Parameterization) -> None:
        """Raise ``ValueError`` unless the model is one of the same levels."""
        chain = DiscreteNoisePrediction(
            num_scales=self.num_scales, beta_min=self.beta_min, beta_max=self.beta_max
        )
        if parameterization.time_label == StepIndex(num_scales=self.num_scales):
            return  # the levels of the SDE are for `check_model` and `bound`
        discrete = isinstance(parameterization, DiscreteNoisePrediction)
        if not discrete or replace(parameterization, interpolate=False) != chain:
            raise ValueError(
                f"the bound ddpm is for models of {self.num_scales} levels with "
                f"beta_min={self.beta_min} and beta_max="
                f"{self.beta_max}, whose parameterization is discrete_noise with the same: else "
                "take variational"
            )

    def check_model(self, sde: SDE, parameterization: Parameterization) -> None:
        """Raise ``ValueError`` unless the network also gets the index of a level at the
        time of that level.
        """
        self.check(parameterization)
        if isinstance(parameterization, DiscreteNoisePrediction) != (sde.step_times() is None):
            raise ValueError(
                "the bound ddpm needs the time label step_index where the SDE is discrete_vp, and "
                "the parameterization "
                "discrete_noise with any other SDE: else take variational"
            )

    def bound(
        self, key: Key, sde: SDE, score_fn: ScoreFn, x: Shaped[ArrayLike, "*shape"], **borders: Any
    ) -> VariationalBound:
        """The bound at level 0."""
        options = {
            "num_terms": self.num_terms,
            "num_decodings": self.num_decodings,
            "chunk_size": self.chunk_size,
        }
        options |= {"t_max": sde.t_max, "times": self._times(sde), "variance": self.variance}
        return ddpm_vlb(key, score_fn, self._marginals, x, **options, **borders)

    def _times(self, sde: SDE) -> Float[np.ndarray, " levels"] | None:
        """The times of the levels of a discrete SDE; raises ``ValueError`` where its
        levels are not the chain's.
        """
        times = sde.step_times()
        if times is None:
            return None
        alpha = self._marginals.alpha
        if len(times) != len(alpha) or not np.allclose(
            marginals_at(sde, times).alpha, alpha, rtol=1e-9
        ):
            raise ValueError(
                f"the bound ddpm with num_scales={self.num_scales}, beta_min={self.beta_min}, "
                f"beta_max={self.beta_max} "
                f"has other levels than the SDE has from t_min={sde.t_min} on: else take "
                "variational"
            )
        return times

    @property
    def _marginals(self) -> DiscreteMarginals:
        return ddpm_marginals(self.num_scales, beta_min=self.beta_min, beta_max=self.beta_max)


def dequantized(
    key: Key,
    sde: SDE,
    score_fn: ScoreFn,
    levels: Shaped[ArrayLike, "*shape"],
    *,
    estimator: Estimator,
    dequantizer: Dequantizer,
    bins: Bins,
    num_samples: int = 1,
) -> LogProbEstimate:
    """The log probability of one example by `importance_weighted_log_prob`, one point
    after the other.

    Errors are those that the errors of the points, weighted as they are, bring. They do
    not tell how far the result is below the log probability, nor that with several
    points, noise of variance ``v`` lifts it by up to ``v / 2``.
    """

    def density(key: Key, x: Shaped[ArrayLike, "*shape"]) -> tuple[Scalar, LogProbEstimate]:
        found = estimator.density(key, sde, score_fn, x)
        return found.log_prob, found

    weights, found = log_weights(key, levels, density, dequantizer, bins, num_samples, chunk_size=1)
    shares = jax.nn.softmax(weights)
    return LogProbEstimate(
        log_prob=log_mean_exp(weights),
        std_error=jnp.linalg.norm(shares * found.std_error),
        solver_error=jnp.vdot(shares, found.solver_error),
        nfe=jnp.sum(found.nfe),
    )
