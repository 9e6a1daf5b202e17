"""Score-based generative modelling through stochastic differential equations, in JAX.

An SDE, a score function and a solver are three independent values; sampling,
likelihood, encoding and conditioning are pure functions of them; a config file only
chooses the values.
"""

from typing import TYPE_CHECKING, Any

from score_sde.divergence import ExactTrace, Hutchinson, HutchPP
from score_sde.likelihood.bound import VariationalBound, variational_bound
from score_sde.likelihood.dequantization import (
    Bins,
    TruncatedNormalDequantizer,
    UniformDequantizer,
    VariationalDequantizer,
    importance_weighted_log_prob,
)
from score_sde.likelihood.discrete_bound import ddpm_vlb
from score_sde.likelihood.flow import LogLikelihood, bits_per_dim, log_likelihood
from score_sde.objectives import (
    DDPM,
    DenoisingScoreMatching,
    ExplicitScoreMatching,
    ImportanceSampling,
    SlicedScoreMatching,
)
from score_sde.parameterization import (
    DenoisedPrediction,
    EDMPreconditioning,
    FlowPrediction,
    NoisePrediction,
    ScorePrediction,
    VelocityPrediction,
)
from score_sde.sampling import (
    DDIM,
    DEIS,
    EDM,
    ERSDE,
    IPNDM,
    SRA1,
    AdamsBashforth,
    AdaptiveSDE,
    AnnealedLangevin,
    DiscreteDDIM,
    DiscreteDDPM,
    DPMSolver,
    DPMSolverPP,
    DynamicThreshold,
    EulerMaruyama,
    ExponentialShARK,
    Heun,
    PredictorCorrector,
    ProbabilityFlow,
    Restart,
    Sample,
    Sampler,
    SDEDPMSolverPP,
    ShARK,
    StaticThreshold,
    UniPC,
    decode,
    default_sampler,
    encode,
    sample,
    thresholded,
)
from score_sde.sampling.latents import slerp
from score_sde.sdes import (
    EDMSDE,
    SDE,
    VESDE,
    VPSDE,
    BrownianMotion,
    CosineSDE,
    DiscreteVPSDE,
    Marginal,
    RectifiedFlowSDE,
    SubVPSDE,
    perturb,
    prior_log_prob,
    prior_sample,
)
from score_sde.sdes.reverse import denoise, probability_flow, reverse_diffusion, reverse_drift
from score_sde.sdes.simulation import Simulation, simulate

if TYPE_CHECKING:
    from score_sde.experiments.builders import (
        build,
        build_classifier,
        build_dequantizer,
        build_model,
    )
    from score_sde.experiments.classifier import ClassifierExperiment, NoisyClassifier
    from score_sde.experiments.dequantizer import DequantizerExperiment, LearnedDequantizer
    from score_sde.experiments.loading import (
        config_from_reference,
        load,
        load_classifier,
        load_dequantizer,
        saved_config,
    )
    from score_sde.experiments.score_model import Experiment, Model
    from score_sde.models import ScoreNetwork, make_score_fn
    from score_sde.training import TrainState

_LATER = {
    "build": "score_sde.experiments.builders",
    "build_classifier": "score_sde.experiments.builders",
    "build_dequantizer": "score_sde.experiments.builders",
    "build_model": "score_sde.experiments.builders",
    "config_from_reference": "score_sde.experiments.loading",
    "load": "score_sde.experiments.loading",
    "load_classifier": "score_sde.experiments.loading",
    "load_dequantizer": "score_sde.experiments.loading",
    "saved_config": "score_sde.experiments.loading",
    "ClassifierExperiment": "score_sde.experiments.classifier",
    "NoisyClassifier": "score_sde.experiments.classifier",
    "DequantizerExperiment": "score_sde.experiments.dequantizer",
    "LearnedDequantizer": "score_sde.experiments.dequantizer",
    "Experiment": "score_sde.experiments.score_model",
    "Model": "score_sde.experiments.score_model",
    "ScoreNetwork": "score_sde.models",
    "make_score_fn": "score_sde.models",
    "TrainState": "score_sde.training",
}
"""Names whose modules need flax or orbax, which the mathematics does without."""


def __getattr__(name: str) -> Any:
    """Import a name that needs more than the mathematics when it is first asked for."""
    if name not in _LATER:
        raise AttributeError(f"module 'score_sde' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LATER[name]), name)


__all__ = [
    "DDIM",
    "DDPM",
    "DEIS",
    "EDM",
    "EDMSDE",
    "ERSDE",
    "IPNDM",
    "SDE",
    "SRA1",
    "VESDE",
    "VPSDE",
    "AdamsBashforth",
    "AdaptiveSDE",
    "AnnealedLangevin",
    "Bins",
    "BrownianMotion",
    "ClassifierExperiment",
    "CosineSDE",
    "DPMSolver",
    "DPMSolverPP",
    "DenoisedPrediction",
    "DenoisingScoreMatching",
    "DequantizerExperiment",
    "DiscreteDDIM",
    "DiscreteDDPM",
    "DiscreteVPSDE",
    "DynamicThreshold",
    "EDMPreconditioning",
    "EulerMaruyama",
    "ExactTrace",
    "Experiment",
    "ExplicitScoreMatching",
    "ExponentialShARK",
    "FlowPrediction",
    "Heun",
    "HutchPP",
    "Hutchinson",
    "ImportanceSampling",
    "LearnedDequantizer",
    "LogLikelihood",
    "Marginal",
    "Model",
    "NoisePrediction",
    "NoisyClassifier",
    "PredictorCorrector",
    "ProbabilityFlow",
    "RectifiedFlowSDE",
    "Restart",
    "SDEDPMSolverPP",
    "Sample",
    "Sampler",
    "ScoreNetwork",
    "ScorePrediction",
    "ShARK",
    "Simulation",
    "SlicedScoreMatching",
    "StaticThreshold",
    "SubVPSDE",
    "TrainState",
    "TruncatedNormalDequantizer",
    "UniPC",
    "UniformDequantizer",
    "VariationalBound",
    "VariationalDequantizer",
    "VelocityPrediction",
    "bits_per_dim",
    "build",
    "build_classifier",
    "build_dequantizer",
    "build_model",
    "config_from_reference",
    "ddpm_vlb",
    "decode",
    "default_sampler",
    "denoise",
    "encode",
    "importance_weighted_log_prob",
    "load",
    "load_classifier",
    "load_dequantizer",
    "log_likelihood",
    "make_score_fn",
    "perturb",
    "prior_log_prob",
    "prior_sample",
    "probability_flow",
    "reverse_diffusion",
    "reverse_drift",
    "sample",
    "saved_config",
    "simulate",
    "slerp",
    "thresholded",
    "variational_bound",
]
