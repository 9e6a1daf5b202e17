"""``score-sde reconstruct-ema``: the average of another width, from the snapshots of a run."""

from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from score_sde.cli.flags import Flags, refusals, require
from score_sde.cli.workdir import EXAMPLE, existing_workdir
from score_sde.evaluation import report
from score_sde.experiments.loading import saved_config
from score_sde.export.model import check_free, export_model
from score_sde.runtime.trust import ALL
from score_sde.training import reconstruct
from score_sde.training.snapshots import FOLDER


def main(argv: Sequence[str]) -> int:
    """Fit the profile, sum the snapshots, and write the model."""
    description = (
        "Make the power average of a relative width that was not tracked, from the snapshots of "
        "those that were\n"
        "(training.averages, training.snapshot_every), and write it as a model that every verb "
        "takes."
    )
    flags = Flags("reconstruct-ema", description, _no_config, {})
    flags.string(
        "workdir",
        None,
        f"folder of a training run with snapshots, for example {EXAMPLE} (required)",
    )
    flags.number(
        "sigma_rel", None, "the relative width of the average, for example 0.12 (required)"
    )
    flags.integer(
        "step", None, "after how many steps (default: that of the last snapshot)", at_least=1
    )
    flags.string("output", None, "new folder for the model (required)")
    values = flags.parse(argv)
    workdir = existing_workdir(values.workdir)
    sigma_rel = require(values.sigma_rel, "sigma_rel", "0.12")
    output = Path(require(values.output, "output", "exported/digits")).expanduser()
    with refusals():
        check_free(output)
        found = reconstruct(workdir / FOLDER, sigma_rel=sigma_rel, step=values.step)
        # The config is copied, and nothing of it is built.
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
    """The config is the run's, and nothing of it changes."""
    return None, list(argv)
