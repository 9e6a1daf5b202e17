"""The figures of a run, or of SDEs alone, and their rows in the report."""

from pathlib import Path

import jax

from score_sde.evaluation.plots.loss import plot_loss, plot_loss_by_level, read_metrics
from score_sde.evaluation.plots.sdes import plot_sde, plot_sdes
from score_sde.experiments.tables import SDES
from score_sde.objectives.noise_levels import log_snr_of
from score_sde.sdes import SDE, BrownianMotion
from score_sde.sdes.mixture import Mixture

FIGURES = ("sde.png", "loss.png", "loss_by_level.png")
"""The figures of a workdir."""

DATA = Mixture(means=((-1.5,), (0.3,), (1.5,)), std=0.15, weights=(0.4, 0.2, 0.4))
"""The one-dimensional data of the trajectories."""


def draw_losses(folder: Path, metrics: Path) -> dict[str, str]:
    """The loss over the steps and, where it was logged, by noise level.

    Raises:
        FileNotFoundError: no metrics file.
        ValueError: a broken metrics file, or one without a finite training loss.
    """
    path, by_level = folder / "loss.png", folder / "loss_by_level.png"
    plot_loss(path, metrics)
    if not any(log_snr_of(name) is not None for name in read_metrics(metrics)):
        return {"loss": str(path)}
    plot_loss_by_level(by_level, metrics)
    return {"loss": str(path), "loss by noise level": str(by_level)}


def draw_sde(path: Path, sde: SDE) -> dict[str, str]:
    """100 trajectories forward, by the reverse SDE and by the probability-flow ODE,
    over the density.
    """
    plot_sde(path, sde, DATA, key=jax.random.key(0))
    return {"trajectories": str(path)}


def draw_every_sde(path: Path) -> dict[str, str]:
    """The trajectories of every SDE of the configs, with default options."""
    # The VP SDE of discrete levels looks like the VP SDE.
    sdes = {name: make() for name, make in SDES.items() if name not in ("brownian", "discrete_vp")}
    # Wide enough for its prior to approximate the last marginal of the data.
    plot_sdes(
        path, {"Brownian motion": BrownianMotion(scale=4.0), **sdes}, DATA, key=jax.random.key(0)
    )
    return {"trajectories": str(path)}
