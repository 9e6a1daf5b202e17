"""``score-sde plot``: the curves of a run, or the trajectories of an SDE."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from score_sde.cli.flags import Flags, Refusal, config_help, named_config, refusals
from score_sde.cli.own_code import ALLOW_CODE, look_in_current_folder, patterns_of
from score_sde.cli.own_files import OVERWRITE, check_results
from score_sde.cli.workdir import EXAMPLE, check_places, existing_workdir
from score_sde.evaluation import (
    plot_loss,
    plot_loss_by_level,
    plot_sde,
    plot_sdes,
    read_metrics,
    report,
)
from score_sde.experiments.builders import build_sde
from score_sde.experiments.code_names import check_code
from score_sde.experiments.loading import saved_config
from score_sde.experiments.tables import SDES
from score_sde.export.model import is_exported
from score_sde.objectives.noise_levels import log_snr_of
from score_sde.runtime.trust import ALL, NOTHING, Trust
from score_sde.sdes import SDE, BrownianMotion
from score_sde.sdes.mixture import Mixture

PICTURES = ("sde.png", "loss.png", "loss_by_level.png")
"""Those of a workdir."""

DATA = Mixture(means=((-1.5,), (0.3,), (1.5,)), std=0.15, weights=(0.4, 0.2, 0.4))
"""The one-dimensional data of the trajectories."""


def main(argv: Sequence[str]) -> int:
    """Draw what there is to draw."""
    description = (
        "Draw the loss and the SDE of a workdir; or the SDE of a config; or, with "
        "neither, every SDE."
    )
    flags = Flags("plot", description, named_config, config_help("default: none"))
    flags.string(
        "workdir", None, f"folder of a training run, for example {EXAMPLE} (default: none)"
    )
    flags.string(
        "output",
        None,
        "folder for the pictures (default: the workdir, or pictures where there is none)",
    )
    flags.string("allow_code", None, ALLOW_CODE)
    flags.boolean("overwrite", False, OVERWRITE)
    values = flags.parse(argv)
    config = values.config if "config" in values else None
    if values.workdir is not None:
        return _plot_workdir(values, config)
    if values.allow_code is not None:
        raise Refusal(
            "--allow_code is for what a --workdir names: a config of your own may name any code"
        )
    folder = Path(values.output or "pictures").expanduser()
    with refusals():
        named = None if config is None else build_sde(config)
        report.make_folder(folder)
        path = folder / ("sdes.png" if named is None else "sde.png")
        check_results([path], own=False, overwrite=values.overwrite)
    rows = _plot_every_sde(path) if named is None else _plot_sde(path, named)
    report.show(f"pictures in {folder}", rows)
    return 0


def _plot_workdir(values: Any, config: ConfigDict | None) -> int:
    workdir = existing_workdir(values.workdir)
    folder = Path(values.output).expanduser() if values.output else workdir
    with refusals():
        if config is not None:
            raise ValueError(
                "--workdir and --config exclude each other: a workdir has the config of its run"
            )
        sde = _saved_sde(workdir, Trust.of(patterns_of(values.allow_code)))
        report.make_folder(workdir)
        report.make_folder(folder)
        check_places(values, workdir, [folder / name for name in PICTURES])
        rows = {} if is_exported(workdir) else _plot_losses(folder, workdir / "metrics.jsonl")
    rows |= _plot_sde(folder / "sde.png", sde)
    report.record(workdir, rows)
    report.show(f"what {workdir} holds", report.read(workdir))
    return 0


def _saved_sde(workdir: Path, trust: Trust) -> SDE:
    """The SDE of a workdir, the only section that is built."""
    config = saved_config(workdir, allow=ALL)
    check_code(config.to_dict(), trust, str(workdir), sections=["sde"])
    if trust != NOTHING:
        look_in_current_folder()
    return build_sde(config, trust=trust)


def _plot_losses(folder: Path, metrics: Path) -> dict[str, str]:
    """The loss over the steps; and by noise level, which the training of a classifier
    or of old has not.
    """
    path, by_level = folder / "loss.png", folder / "loss_by_level.png"
    plot_loss(path, metrics)
    if not any(log_snr_of(name) is not None for name in read_metrics(metrics)):
        return {"loss": str(path)}
    plot_loss_by_level(by_level, metrics)
    return {"loss": str(path), "loss by noise level": str(by_level)}


def _plot_sde(path: Path, sde: SDE) -> dict[str, str]:
    """100 trajectories forward, by the reverse SDE and by the probability-flow ODE,
    over the density.
    """
    plot_sde(path, sde, DATA, key=jax.random.key(0))
    return {"trajectories": str(path)}


def _plot_every_sde(path: Path) -> dict[str, str]:
    # The VP SDE through discrete levels looks like the VP SDE.
    sdes = {name: make() for name, make in SDES.items() if name not in ("brownian", "discrete_vp")}
    # Wide enough for its prior to stand for the data's last marginal.
    plot_sdes(
        path, {"Brownian motion": BrownianMotion(scale=4.0), **sdes}, DATA, key=jax.random.key(0)
    )
    return {"trajectories": str(path)}
