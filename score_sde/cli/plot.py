"""``score-sde plot``: the curves of a run, or the trajectories of an SDE."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from score_sde.cli.flags import Flags, Refusal, config_help, named_config, refusals
from score_sde.cli.own_code import ALLOW_CODE, look_in_current_folder, patterns_of
from score_sde.cli.own_files import OVERWRITE, check_results
from score_sde.cli.workdir import EXAMPLE, check_places, existing_workdir
from score_sde.evaluation import report
from score_sde.evaluation.plots.overview import FIGURES, draw_every_sde, draw_losses, draw_sde
from score_sde.experiments.builders import build_sde
from score_sde.experiments.code_names import check_code
from score_sde.experiments.loading import saved_config
from score_sde.export.model import is_exported
from score_sde.runtime.atomic_files import make_folder
from score_sde.runtime.trust import ALL, NOTHING, Trust


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
        make_folder(folder)
        path = folder / ("sdes.png" if named is None else "sde.png")
        check_results([path], own=False, overwrite=values.overwrite)
    rows = draw_every_sde(path) if named is None else draw_sde(path, named)
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
        trust, saved = Trust.of(patterns_of(values.allow_code)), saved_config(workdir, allow=ALL)
        check_code(saved.to_dict(), trust, str(workdir), sections=["sde"])  # no other is built
        if trust != NOTHING:
            look_in_current_folder()
        sde = build_sde(saved, trust=trust)
        make_folder(workdir)
        make_folder(folder)
        check_places(values, workdir, [folder / name for name in FIGURES])
        rows = {} if is_exported(workdir) else draw_losses(folder, workdir / "metrics.jsonl")
    rows |= draw_sde(folder / "sde.png", sde)
    report.record(workdir, rows)
    report.show(f"what {workdir} holds", report.read(workdir))
    return 0
