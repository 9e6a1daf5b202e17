"""The figures of a run, or of SDEs alone, and their rows in the report."""

from collections.abc import Mapping
from pathlib import Path

import jax

from score_sde.evaluation.plots.loss import plot_loss, plot_loss_by_level, read_metrics
from score_sde.evaluation.plots.names import name_of
from score_sde.evaluation.plots.sdes import plot_sde, plot_sdes
from score_sde.objectives.noise_levels import log_snr_of
from score_sde.sdes import (
    EDMSDE,
    SDE,
    VESDE,
    VPSDE,
    BrownianMotion,
    CosineSDE,
    RectifiedFlowSDE,
    SubVPSDE,
)
from score_sde.sdes.mixture import Mixture

FIGURES = ("sde.png", "loss.png", "loss_by_level.png")
"""The figures of a workdir."""

SDES: Mapping[str, tuple[SDE, ...]] = {
    "sdes.png": (VPSDE(), SubVPSDE(), VESDE()),
    "more_sdes.png": (
        EDMSDE(),
        CosineSDE(),
        RectifiedFlowSDE(),
        BrownianMotion(scale=4.0),  # a wide prior, which approximates the last marginal
    ),
}
"""The figures of SDEs with default options: those of Song et al. 2021, and later ones.

The VP SDE of discrete levels looks like the VP SDE.
"""

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


def draw_sde(folder: Path, sde: SDE) -> dict[str, str]:
    """Trajectories forward, by the reverse SDE and by the probability-flow ODE, over
    the density.
    """
    path = folder / "sde.png"
    plot_sde(path, sde, DATA, key=jax.random.key(0))
    return {"trajectories": str(path)}


def draw_sdes(folder: Path) -> dict[str, str]:
    """The trajectories of the SDEs of `SDES`, a figure for each of its rows."""
    rows = {}
    for name, sdes in SDES.items():
        path = folder / name
        plot_sdes(path, {name_of(sde): sde for sde in sdes}, DATA, key=jax.random.key(0))
        rows["trajectories of " + ", ".join(map(name_of, sdes))] = str(path)
    return rows
