"""Likelihoods by the probability-flow ODE, variational bounds, and dequantization.

`log_likelihood` is the exact log density of one sample, `variational_bound` and
`ddpm_vlb` bound it from below, and `importance_weighted_log_prob` bounds the
probability of discrete data by a density. An `Estimator` is one of the first three with
its options, as a value.
"""

from score_sde.likelihood.bound import VariationalBound, variational_bound
from score_sde.likelihood.dequantization import (
    Bins,
    Dequantizer,
    Offsets,
    TruncatedNormalDequantizer,
    UniformDequantizer,
    VariationalDequantizer,
    importance_weighted_log_prob,
)
from score_sde.likelihood.discrete_bound import ddpm_vlb
from score_sde.likelihood.estimators import (
    DDPMEstimator,
    Estimator,
    FlowEstimator,
    VariationalEstimator,
    dequantized,
)
from score_sde.likelihood.flow import LogLikelihood, bits_per_dim, log_likelihood

__all__ = [
    "Bins",
    "DDPMEstimator",
    "Dequantizer",
    "Estimator",
    "FlowEstimator",
    "LogLikelihood",
    "Offsets",
    "TruncatedNormalDequantizer",
    "UniformDequantizer",
    "VariationalBound",
    "VariationalDequantizer",
    "VariationalEstimator",
    "bits_per_dim",
    "ddpm_vlb",
    "dequantized",
    "importance_weighted_log_prob",
    "log_likelihood",
    "variational_bound",
]
