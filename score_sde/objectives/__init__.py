"""Training objectives: pure functions of one example."""

from score_sde.objectives.denoising import DenoisingScoreMatching
from score_sde.objectives.time_sampling import UniformTime
from score_sde.objectives.weighting import Weighting, likelihood, variance

__all__ = ["DenoisingScoreMatching", "UniformTime", "Weighting", "likelihood", "variance"]
