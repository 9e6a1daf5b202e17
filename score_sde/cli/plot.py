"""``score-sde plot``: the curves of a run, or the trajectories of an SDE."""

from collections.abc import Sequence
from pathlib import Path

import jax

from score_sde.builders import SDES, build_sde, saved_config
from score_sde.cli import report
from score_sde.cli.flags import Flags, refusals, require, value_of, wants_help, with_config_path
from score_sde.cli.workdir import EXAMPLE
from score_sde.evaluation import Mixture, plot_loss, plot_sde, plot_sdes
from score_sde.sdes import SDE, BrownianMotion

DATA = Mixture(means=((-1.5,), (0.3,), (1.5,)), std=0.15, weights=(0.4, 0.2, 0.4))
"""The one-dimensional data of the trajectories."""


def main(argv: Sequence[str]) -> int:
    """Draw what there is to draw."""
    flags = Flags("plot", "Draw the loss and the SDE of a workdir, the SDE of a config, or every SDE.")
    flags.string("workdir", None, f"folder of a training run, for example {EXAMPLE}; pictures go there")
    flags.string("output", None, "folder for the pictures, where there is no workdir; made if missing")
    argv = with_config_path(argv)
    if value_of("config", argv) is not None or wants_help(argv):
        flags.config_file(argv)
    values = flags.parse("plot", argv)
    if values.workdir is not None:
        return _plot_workdir(Path(values.workdir))
    folder = Path(require(values.output, "output", "pictures"))
    with refusals():
        named = build_sde(values.config) if "config" in values else None
        folder.mkdir(parents=True, exist_ok=True)
    rows = _plot_every_sde(folder / "sdes.png") if named is None else _plot_sde(folder / "sde.png", named)
    report.show(f"pictures in {folder}", rows)
    return 0


def _plot_workdir(workdir: Path) -> int:
    with refusals():
        sde = build_sde(saved_config(workdir))
        plot_loss(workdir / "loss.png", workdir / "metrics.jsonl")
    rows = {"loss": str(workdir / "loss.png"), **_plot_sde(workdir / "sde.png", sde)}
    report.record(workdir, rows)
    report.show(f"what {workdir} holds", report.read(workdir))
    return 0


def _plot_sde(path: Path, sde: SDE) -> dict[str, str]:
    """100 trajectories forward, by the reverse SDE and by the probability-flow ODE, over the density."""
    plot_sde(path, sde, DATA, key=jax.random.key(0))
    return {"trajectories": str(path)}


def _plot_every_sde(path: Path) -> dict[str, str]:
    sdes = {name: make() for name, make in SDES.items() if name != "brownian"}
    # Wide enough for its prior to stand for the data's last marginal.
    plot_sdes(path, {"Brownian motion": BrownianMotion(scale=4.0), **sdes}, DATA, key=jax.random.key(0))
    return {"trajectories": str(path)}
