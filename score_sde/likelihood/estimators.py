"""Estimators of the log-likelihood of data with a common interface: the probability
flow and variational bounds.
"""

import abc
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from score_sde import checks
from score_sde.divergence import Divergence, Hutchinson
from score_sde.likelihood.bound import VariationalBound, check_draws, variational_bound
from score_sde.likelihood.dequantization import Bins, Dequantizer, log_mean_exp, log_weights
from score_sde.likelihood.discrete_bound import Variance, ddpm_vlb, step_costs
from score_sde.likelihood.flow import log_likelihood
from score_sde.parameterization import DiscreteNoisePrediction, Parameterization, StepIndex
from score_sde.precision import unknown
from score_sde.renamed import renamed
from score_sde.sdes import SDE, DiscreteMarginals, ddpm_marginals
from score_sde.solvers import marginals_at
from score_sde.typing import Key, SampleLike, Scalar, ScoreFn


class LogProbEstimate(NamedTuple):
    """An estimate of the log-likelihood of one sample, with its errors.

    Attributes:
        log_prob: nats over all dimensions.
        std_error: the standard error of ``log_prob`` over the random draws of the
            estimator (probes, times) for this sample; NaN if unknown.
        solver_error: the absolute difference of ``log_prob`` between two tolerances of
            the solve; NaN if not computed.
        nfe: the number of score evaluations.

    Under ``jax_debug_nans``, which does not allow a NaN, both errors are None where unknown.
    """

    log_prob: Scalar
    std_error: Scalar | None
    solver_error: Scalar | None
    nfe: Int[Array, ""]


class Estimator(abc.ABC):
    """An estimator of the log-likelihood of one sample: a value with its options."""

    def check(self, parameterization: Parameterization) -> None:  # noqa: B027 - any suits most
        """Raise ``ValueError`` unless the estimator supports this parameterization."""

    def check_model(self, sde: SDE, parameterization: Parameterization) -> None:
        """Raise ``ValueError`` unless the estimator supports models of this SDE and
        parameterization; it includes `check`, which needs no SDE.
        """
        del sde
        self.check(parameterization)

    @abc.abstractmethod
    def density(self, key: Key, sde: SDE, score_fn: ScoreFn, x: SampleLike) -> LogProbEstimate:
        """The log density of ``x``, in model units."""

    def probability(
        self,
        key: Key,
        sde: SDE,
        score_fn: ScoreFn,
        levels: SampleLike,
        bins: Bins,
        num_levels: int,
    ) -> LogProbEstimate:
        """The log probability of discrete data, without dequantization.

        ``levels`` holds whole numbers from 0 to ``num_levels - 1``; ``bins`` maps each
        to its interval.

        Raises:
            ValueError: the estimator gives densities only.
        """
        del key, sde, score_fn, levels, bins, num_levels
        raise ValueError("this estimates densities only: discrete data need a dequantizer")


@dataclass(frozen=True, kw_only=True)
class FlowEstimator(Estimator):
    """The exact log density under the probability-flow ODE, by `log_likelihood`."""

    divergence: Divergence = Hutchinson()  # noqa: RUF009 - a frozen value
    rtol: float = 1e-5
    atol: float = 1e-5
    check_tolerance: bool = False

    def density(self, key: Key, sde: SDE, score_fn: ScoreFn, x: SampleLike) -> LogProbEstimate:
        """The log density at ``sde.t_min``."""
        options = {"rtol": self.rtol, "atol": self.atol, "check_tolerance": self.check_tolerance}
        found = log_likelihood(key, sde, score_fn, x, divergence=self.divergence, **options)
        return LogProbEstimate(found.log_prob, found.std_error, found.solver_error, found.nfe)


@dataclass(frozen=True, kw_only=True)
class BoundEstimator(Estimator):
    """A variational lower bound of the log density or, with the decoder integrated over
    each bin, of the log probability of discrete data.

    ``num_decodings`` draws estimate the reconstruction term; ``chunk_size`` draws are
    evaluated at a time, all of them if None.
    """

    num_decodings: int = 4
    chunk_size: int | None = None

    def density(self, key: Key, sde: SDE, score_fn: ScoreFn, x: SampleLike) -> LogProbEstimate:
        """The bound of the log density."""
        return self._estimate(self.bound(key, sde, score_fn, x))

    def probability(
        self,
        key: Key,
        sde: SDE,
        score_fn: ScoreFn,
        levels: SampleLike,
        bins: Bins,
        num_levels: int,
    ) -> LogProbEstimate:
        """The bound of the log probability of discrete data."""
        edges = {
            "bin_width": bins.width,
            "data_range": (bins.low, bins.low + num_levels * bins.width),
        }
        return self._estimate(self.bound(key, sde, score_fn, bins.at(levels, 0.5), **edges))

    @abc.abstractmethod
    def bound(
        self, key: Key, sde: SDE, score_fn: ScoreFn, x: SampleLike, **edges: Any
    ) -> VariationalBound:
        """The bound; ``edges`` are ``bin_width`` and ``data_range`` for a probability."""

    @property
    @abc.abstractmethod
    def num_draws(self) -> int:
        """The number of score evaluations for the diffusion term."""

    def _estimate(self, found: VariationalBound) -> LogProbEstimate:
        return LogProbEstimate(
            found.log_prob,
            found.std_error,
            unknown(found.log_prob.dtype),
            jnp.asarray(self.num_draws + self.num_decodings),
        )


@dataclass(frozen=True, kw_only=True)
class VariationalEstimator(BoundEstimator):
    """The lower bound under the reverse SDE, by `variational_bound`, with ``num_times``
    random times.
    """

    num_times: int = 128

    def __post_init__(self) -> None:
        check_draws(self.chunk_size, num_times=self.num_times, num_decodings=self.num_decodings)

    @property
    def num_draws(self) -> int:
        """``num_times``."""
        return self.num_times

    def bound(
        self, key: Key, sde: SDE, score_fn: ScoreFn, x: SampleLike, **edges: Any
    ) -> VariationalBound:
        """The bound at ``sde.t_min``."""
        options = {
            "num_times": self.num_times,
            "num_decodings": self.num_decodings,
            "chunk_size": self.chunk_size,
        }
        return variational_bound(key, sde, score_fn, x, **options, **edges)


@renamed(num_levels="num_terms")
@dataclass(frozen=True, kw_only=True)
class DDPMEstimator(BoundEstimator):
    """The lower bound under the ancestral chain of a DDPM model, by `ddpm_vlb`.

    It requires a model with a `DiscreteNoisePrediction` of the same ``num_scales``,
    ``beta_min`` and ``beta_max``, or a `DiscreteVPSDE` of ``num_scales`` steps with
    linear betas from ``beta_min / num_scales`` to ``beta_max / num_scales``.
    ``num_terms`` terms of the sum are drawn; None uses all ``num_scales - 1``.
    ``variance`` is the variance of the reverse steps.
    """

    num_scales: int = 1000
    beta_min: float = 0.1
    beta_max: float = 20.0
    variance: Variance = "fixedsmall"
    num_terms: int | None = None

    def __post_init__(self) -> None:
        step_costs(self._marginals, self.variance)  # checks the betas and the variance
        check_draws(self.chunk_size, num_terms=self.num_draws, num_decodings=self.num_decodings)
        checks.increasing(num_terms=self.num_draws, num_scales=self.num_scales)

    @property
    def num_draws(self) -> int:
        """``num_terms``, or the number of all terms."""
        return self.num_scales - 1 if self.num_terms is None else self.num_terms

    def check(self, parameterization: Parameterization) -> None:
        """Raise ``ValueError`` unless the parameterization has the same number of steps
        and, without a `DiscreteVPSDE`, the same betas.
        """
        chain = DiscreteNoisePrediction(
            num_scales=self.num_scales, beta_min=self.beta_min, beta_max=self.beta_max
        )
        if parameterization.time_label == StepIndex(num_scales=self.num_scales):
            return  # `bound` compares the betas with the SDE
        checks.require(
            isinstance(parameterization, DiscreteNoisePrediction)
            and replace(parameterization, interpolate=False) == chain,
            f"the bound ddpm is for models of {self.num_scales} levels with "
            f"beta_min={self.beta_min} and beta_max={self.beta_max}, whose parameterization is "
            "discrete_noise with these values: take the bound variational instead",
        )

    def check_model(self, sde: SDE, parameterization: Parameterization) -> None:
        """Raise ``ValueError`` unless the SDE and the time label belong together: a
        discrete SDE with `StepIndex`, any other with `DiscreteNoisePrediction`.
        """
        self.check(parameterization)
        checks.require(
            isinstance(parameterization, DiscreteNoisePrediction) == (sde.step_times() is None),
            "the bound ddpm needs the time label step_index with the SDE discrete_vp, and the "
            "parameterization discrete_noise with any other SDE: take the bound variational "
            "instead",
        )

    def bound(
        self, key: Key, sde: SDE, score_fn: ScoreFn, x: SampleLike, **edges: Any
    ) -> VariationalBound:
        """The bound for ``x`` as ``x_0``, the state before the first noise."""
        options = {
            "num_terms": self.num_terms,
            "num_decodings": self.num_decodings,
            "chunk_size": self.chunk_size,
        }
        options |= {"t_max": sde.t_max, "times": self._times(sde), "variance": self.variance}
        return ddpm_vlb(key, score_fn, self._marginals, x, **options, **edges)

    def _times(self, sde: SDE) -> Float[np.ndarray, " levels"] | None:
        """The times of the levels of a discrete SDE, None for another SDE; raises
        ``ValueError`` where its levels differ from the chain's.
        """
        times = sde.step_times()
        if times is None:
            return None
        alpha = self._marginals.alpha
        checks.require(
            len(times) == len(alpha)
            and np.allclose(marginals_at(sde, times).alpha, alpha, rtol=1e-9),
            f"the bound ddpm with num_scales={self.num_scales}, beta_min={self.beta_min}, "
            f"beta_max={self.beta_max} has another noise schedule than the SDE from "
            f"t_min={sde.t_min} on: take the bound variational instead",
        )
        return times

    @property
    def _marginals(self) -> DiscreteMarginals:
        return ddpm_marginals(self.num_scales, beta_min=self.beta_min, beta_max=self.beta_max)


def dequantized(
    key: Key,
    sde: SDE,
    score_fn: ScoreFn,
    levels: SampleLike,
    *,
    estimator: Estimator,
    dequantizer: Dequantizer,
    bins: Bins,
    num_samples: int = 1,
) -> LogProbEstimate:
    """The log probability of one discrete example, as `importance_weighted_log_prob` with
    ``num_samples`` dequantized points, evaluated one after the other.

    The errors are propagated from the errors of the points, given the points: they
    exclude the spread over the dequantization noise itself and the gap between the
    bound and the log probability. Noise of variance ``v`` in the log density of each
    point biases the result upward by up to ``v / 2`` if ``num_samples > 1``.
    """

    def density(key: Key, x: SampleLike) -> tuple[Scalar, LogProbEstimate]:
        found = estimator.density(key, sde, score_fn, x)
        return found.log_prob, found

    weights, found = log_weights(key, levels, density, dequantizer, bins, num_samples, chunk_size=1)
    shares, (_, std_error, solver_error, _) = jax.nn.softmax(weights), found
    return LogProbEstimate(
        log_prob=log_mean_exp(weights),
        std_error=None if std_error is None else jnp.linalg.norm(shares * std_error),
        solver_error=None if solver_error is None else jnp.vdot(shares, solver_error),
        nfe=jnp.sum(found.nfe),
    )
