"""Figures and metrics of trained models: losses, samples, SDEs and distances to data."""

from score_sde.evaluation.distance import (
    energy_kernel,
    gaussian_kernel,
    mmd_squared,
    nearest_neighbour_accuracy,
    polynomial_kernel,
    sample_distances,
    sliced_wasserstein,
)
from score_sde.evaluation.frechet import GaussianStatistics, frechet_distance, gaussian_statistics
from score_sde.evaluation.plots.images import (
    denoising_strip,
    frames_to_unit,
    image_grid,
    save_gif,
    save_png,
)
from score_sde.evaluation.plots.loss import plot_loss, plot_loss_by_level, read_metrics
from score_sde.evaluation.plots.points import plot_samples
from score_sde.evaluation.plots.sdes import plot_sde, plot_sdes

__all__ = [
    "GaussianStatistics",
    "denoising_strip",
    "energy_kernel",
    "frames_to_unit",
    "frechet_distance",
    "gaussian_kernel",
    "gaussian_statistics",
    "image_grid",
    "mmd_squared",
    "nearest_neighbour_accuracy",
    "plot_loss",
    "plot_loss_by_level",
    "plot_samples",
    "plot_sde",
    "plot_sdes",
    "polynomial_kernel",
    "read_metrics",
    "sample_distances",
    "save_gif",
    "save_png",
    "sliced_wasserstein",
]
