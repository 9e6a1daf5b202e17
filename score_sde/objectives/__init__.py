"""Training objectives: pure functions of one example."""

from score_sde.objectives.base import ScoreMatching, WeightedScoreMatching
from score_sde.objectives.classification import LogProbFn, NoisyClassification
from score_sde.objectives.ddpm import DDPMLoss
from score_sde.objectives.denoising import DenoisingScoreMatching, ncsn
from score_sde.objectives.explicit import ExplicitScoreMatching
from score_sde.objectives.noise_levels import NoiseLevels
from score_sde.objectives.sliced import SlicedScoreMatching
from score_sde.objectives.time_sampling import (
    DiscreteTime,
    FixedTime,
    ImportanceSampling,
    LogNormalNoise,
    Time,
    TimeSampling,
    UniformTime,
)
from score_sde.objectives.weighting import (
    P2,
    EDMWeighting,
    MinSNR,
    Sigmoid,
    Weighting,
    flow_matching,
    likelihood,
    unweighted,
    variance,
)

__all__ = [
    "P2",
    "DDPMLoss",
    "DenoisingScoreMatching",
    "DiscreteTime",
    "EDMWeighting",
    "ExplicitScoreMatching",
    "FixedTime",
    "ImportanceSampling",
    "LogNormalNoise",
    "LogProbFn",
    "MinSNR",
    "NoiseLevels",
    "NoisyClassification",
    "ScoreMatching",
    "Sigmoid",
    "SlicedScoreMatching",
    "Time",
    "TimeSampling",
    "UniformTime",
    "WeightedScoreMatching",
    "Weighting",
    "flow_matching",
    "likelihood",
    "ncsn",
    "unweighted",
    "variance",
]
