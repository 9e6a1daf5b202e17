"""Training objectives: pure functions of one example."""

from score_sde.objectives.classification import LogProbFn, NoisyClassification
from score_sde.objectives.denoising import DenoisingScoreMatching
from score_sde.objectives.time_sampling import UniformTime
from score_sde.objectives.weighting import Weighting, likelihood, variance

__all__ = [
    "DenoisingScoreMatching",
    "LogProbFn",
    "NoisyClassification",
    "UniformTime",
    "Weighting",
    "likelihood",
    "variance",
]
