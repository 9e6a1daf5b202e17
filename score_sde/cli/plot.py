"""``score-sde plot``: the loss curves of a run, or the trajectories of an SDE."""

from collections.abc import Mapping, Sequence
from typing import Any

from score_sde.cli.allowed_code import patterns_of
from score_sde.cli.command_flags import FLAGS
from score_sde.cli.config_source import existing_workdir
from score_sde.cli.flags import require, usage_errors
from score_sde.cli.own_code import look_in_current_folder
from score_sde.cli.own_files import check_results
from score_sde.cli.shared_flags import output_folder
from score_sde.cli.workdir import check_places
from score_sde.evaluation import report
from score_sde.evaluation.plots import overview
from score_sde.experiments.builders import build_sde
from score_sde.experiments.code_names import check_code
from score_sde.experiments.loading import saved_config
from score_sde.export.folder import is_exported
from score_sde.runtime.atomic_files import make_folder
from score_sde.runtime.trust import ALL, NOTHING, Trust
from score_sde.runtime.working_copy import local_path


def main(argv: Sequence[str]) -> int:
    """Plot the loss and the SDE of a run, the SDE of a config, or all SDEs."""
    values = FLAGS["plot"]().parse(argv)
    config = values.config if "config" in values else None
    if values.workdir is not None:
        return _plot_workdir(values, config)
    require(
        values.allow_code is None,
        "--allow_code is for the saved config of a --workdir: your own config may name any code",
    )
    with usage_errors():
        folder = local_path(values.output or "figures")
        named = None if config is None else build_sde(config)
        make_folder(folder)
        names = overview.SDES if named is None else ["sde.png"]
        check_results([folder / name for name in names], own=False, overwrite=values.overwrite)
    rows = overview.draw_sdes(folder) if named is None else overview.draw_sde(folder, named)
    report.show(f"figures in {folder}", rows)
    return 0


def _plot_workdir(values: Any, config: Mapping[str, Any] | None) -> int:
    workdir = existing_workdir(values.workdir)
    require(
        config is None,
        "--workdir and --config exclude each other: a workdir has the config of its run",
    )
    with usage_errors():
        folder = output_folder(values.output, workdir, ".")
        trust, saved = Trust.of(patterns_of(values.allow_code)), saved_config(workdir, allow=ALL)
        check_code(saved.to_dict(), trust, str(workdir), sections=["sde"])  # no other is built
        if trust != NOTHING:
            look_in_current_folder()
        sde = build_sde(saved, trust=trust)
        make_folder(workdir)
        make_folder(folder)
        check_places(values, workdir, [folder / name for name in overview.FIGURES])
        rows = (
            {} if is_exported(workdir) else overview.draw_losses(folder, workdir / "metrics.jsonl")
        )
    rows |= overview.draw_sde(folder, sde)
    report.record(workdir, rows)
    report.show(f"results in {workdir}", report.read(workdir))
    return 0
