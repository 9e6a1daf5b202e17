"""``score-sde reconstruct-ema``: post-hoc EMA from the snapshots of a run."""

from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from score_sde.cli.flags import Flags, given, usage_errors
from score_sde.cli.shared_flags import add_workdir
from score_sde.cli.workdir import existing_workdir
from score_sde.evaluation import report
from score_sde.experiments.loading import saved_config
from score_sde.export.model import check_free, export_model
from score_sde.runtime.trust import ALL
from score_sde.training import reconstruct
from score_sde.training.snapshots import FOLDER


def main(argv: Sequence[str]) -> int:
    """Fit the profile, sum the snapshots, and write the model."""
    description = (
        "Reconstruct a power EMA of any relative width after training (post-hoc EMA), from the "
        "snapshots of a\n"
        "run with training.averages and training.snapshot_every, and write it as a model for all "
        "commands."
    )
    flags = Flags("reconstruct-ema", description, _no_config, {})
    add_workdir(flags, "a training run with snapshots")
    flags.number("sigma_rel", None, "relative width of the average, for example 0.12 (required)")
    flags.integer(
        "step", None, "last training step of the average (default: the last snapshot)", at_least=1
    )
    flags.string("output", None, "new folder for the model (required)")
    values = flags.parse(argv)
    workdir = existing_workdir(values.workdir)
    sigma_rel = given(values.sigma_rel, "sigma_rel", "0.12")
    output = Path(given(values.output, "output", "exported/digits")).expanduser()
    with usage_errors():
        check_free(output)
        found = reconstruct(workdir / FOLDER, sigma_rel=sigma_rel, step=values.step)
        # The config is only copied, so it may name any code.
        export_model(
            output, found.params, saved_config(workdir, allow=ALL).to_dict(), step=found.step
        )
    rows = {
        "average": f"power:{sigma_rel:g} after step {found.step}, from {found.num_snapshots} "
        "snapshots",
        "residual of its profile": f"{found.residual:.1e} (distance to the wanted one, relative, "
        "in L2)",
        "model": f"{output}: score-sde sample --workdir={output}",
    }
    report.show(f"reconstruction from {workdir / FOLDER}", rows)
    return 0


def _no_config(argv: Sequence[str]) -> tuple[ConfigDict | None, list[str]]:
    """No flags for a config: the model has the config of its run."""
    return None, list(argv)
